"""Every convolution of some networks, from the tables in their papers, at the batch size one asks for.

Each function yields (place in the network, layer) in the order of the network, repetitions included. Dense layers at
the end are left out; those that act on each pixel alone (ConvNeXt) are 1x1 convolutions and are in.
"""

from . import classifiers, generators, sounds, volumes

NETWORKS = {
    "resnet50": classifiers.resnet50,
    "resnext50": classifiers.resnext50,
    "mobilenetv2": classifiers.mobilenetv2,
    "efficientnet-b0": classifiers.efficientnet_b0,
    "convnext-t": classifiers.convnext_t,
    "vgg16": classifiers.vgg16,
    "deeplabv3-head": generators.deeplabv3_head,
    "dcgan-generator": generators.dcgan_generator,
    "dcgan-discriminator": classifiers.dcgan_discriminator,
    "pix2pix-generator": generators.pix2pix_generator,
    "c3d": volumes.c3d,
    "alexnet": classifiers.alexnet,
    "densenet121": classifiers.densenet121,
    "squeezenet": classifiers.squeezenet,
    "regnetx-3.2gf": classifiers.regnetx_3_2gf,
    "replknet-31b": classifiers.replknet31b,
    "cyclegan-generator": generators.cyclegan_generator,
    "srcnn": generators.srcnn,
    "fsrcnn": generators.fsrcnn,
    "unet": generators.unet,
    "unet3d": volumes.unet3d,
    "wavenet": sounds.wavenet,
    "hifigan": sounds.hifigan,
    "conv-tasnet": sounds.conv_tasnet,
    "wav2vec2": sounds.wav2vec2,
    "conformer-m": sounds.conformer_m,
    "mamba-130m": sounds.mamba_130m,
}

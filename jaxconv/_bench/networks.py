"""Every convolution of some networks, from the tables in their papers, at the batch size one asks for.

Each function yields (place in the network, layer) in the order of the network, repetitions included. Dense layers at
the end are left out; those that act on each pixel alone (ConvNeXt) are 1x1 convolutions and are in.
"""

from . import classifiers, generators

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
    "c3d": classifiers.c3d,
    "alexnet": classifiers.alexnet,
    "srcnn": generators.srcnn,
    "unet": generators.unet,
    "unet3d": generators.unet3d,
    "wavenet": generators.wavenet,
    "hifigan": generators.hifigan,
}

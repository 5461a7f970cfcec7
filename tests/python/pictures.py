"""Writes pictures of many kinds into the working folder, and prints of each what Pillow brings it to, a line of JSON each: its file, a shape
(channels, height, width) and the values channel after channel. The steps are those of torchvision's CenterCrop and Resize."""

import json

import numpy
from PIL import Image

random = numpy.random.default_rng(0)
height, width = 37, 52
rgba = random.integers(0, 256, (height, width, 4), dtype=numpy.uint8)
rgb = Image.fromarray(rgba[..., :3])
pictures = {
    "rgb.png": rgb,
    "grey.png": Image.fromarray(rgba[..., 0]),
    "bits.png": Image.fromarray(rgba[..., 0]).convert("1"),
    "alpha.png": Image.fromarray(rgba),
    "grey-alpha.png": Image.fromarray(rgba[..., :2].copy(), "LA"),
    "palette.png": rgb.quantize(17),
}
# Of 16 bits Pillow clips; 257 v is what v becomes in them.
deep = Image.fromarray(rgba[..., 1].astype(numpy.uint16) * 257)


def brought(picture, channels, height, width):
    picture = picture.convert("L" if channels == 1 else "RGB")
    ratio = width / height
    part = (min(picture.width, round(picture.height * ratio)), min(picture.height, round(picture.width / ratio)))
    left, top = (int(round((all - side) / 2)) for all, side in zip(picture.size, part))
    picture = picture.crop((left, top, left + part[0], top + part[1])).resize((width, height), Image.BILINEAR)
    values = numpy.asarray(picture).reshape(height, width, channels)
    return values.transpose(2, 0, 1).ravel().tolist()


def say(name, picture):
    for shape in [(1, 28, 28), (3, 32, 32), (3, 8, 20), (1, 90, 61), (3, height, width)]:
        print(json.dumps({"file": name, "shape": shape, "values": brought(picture, *shape)}))


for name, picture in pictures.items():
    picture.save(name)
    say(name, picture)
deep.save("deep.png")
say("deep.png", Image.fromarray(rgba[..., 1]))

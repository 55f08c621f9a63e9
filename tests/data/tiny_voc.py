"""Hand-made data sets in PASCAL VOC's format, written to a folder."""

from PIL import Image

from tests.data.tiny_coco import photo


def entry(name="dog", box=(3, 2, 6, 5), difficult=0):
    """An <object> with inclusive corners counted from 1."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bounds = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{bounds}</bndbox></object>"
    )


def annotation(*objects, width=10, height=8):
    """The text of an annotation file."""
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def write(folder, annotations, split="val"):
    """The folder of a data set: image name -> text of its annotation file."""
    root = folder / "VOC2007"
    for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(annotations) + "\n")
    for number, (name, text) in enumerate(annotations.items()):
        (root / "Annotations" / f"{name}.xml").write_text(text)
        Image.fromarray(photo(number, 10, 8)).save(root / "JPEGImages" / f"{name}.jpg")
    return root

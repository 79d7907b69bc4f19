"""Files that hold pictures which limner does not read, called by their names."""

from collections import Counter

from limner.data.findings import Finding, plural

OTHER = "no picture suffix"
HEIC, RAW, VIDEO, JPEG_XL = "HEIC", "camera raw", "video", "JPEG XL"
LAYERED, DRAWING, DOCUMENT, MEDICAL = "Photoshop", "SVG", "PDF", "DICOM"
SUFFIXES = {
    HEIC: "heic heif hif heics",
    RAW: "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl "
    "sr2 srf srw x3f",
    VIDEO: "avi m4v mkv mov mp4 mpeg mpg webm wmv",
    JPEG_XL: "jxl",
    LAYERED: "psb psd",
    DRAWING: "svg svgz",
    DOCUMENT: "eps pdf ps",
    MEDICAL: "dcm dicom nii",
    "OpenEXR or HDR": "exr hdr",
}
KINDS = {f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
HOW = {
    HEIC: "heif-convert FILE.heic FILE.jpg, or on a Mac sips -s format jpeg",
    RAW: "your raw converter, or darktable-cli FILE.cr2 FILE.jpg",
    VIDEO: "ffmpeg -i FILE.mp4 frames/%06d.png",
    MEDICAL: "16-bit PNG or TIFF, or an .npz",
}
# What files of these kinds begin with, whatever their name: (place, bytes).
SIGNATURES = (
    (HEIC, 4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis", b"ftypmif1",
               b"ftypmsf1")),
    (RAW, 4, (b"ftypcrx ",)),
    (RAW, 0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0", b"FOVb")),
    (VIDEO, 4, (b"ftypisom", b"ftypmp42", b"ftypqt  ")),
    (VIDEO, 0, (b"\x1aE\xdf\xa3",)),
    (JPEG_XL, 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    (LAYERED, 0, (b"8BPS",)),
    (DRAWING, 0, (b"<svg",)),
    (DOCUMENT, 0, (b"%PDF", b"%!PS")),
    (MEDICAL, 128, (b"DICM",)),
    ("OpenEXR or HDR", 0, (b"v/1\x01", b"#?RADIANCE")),
)  # fmt: skip


def kind_of_file(name: str) -> str:
    """What a file that is no picture for limner holds, by its suffix; OTHER where that is open."""
    return KINDS.get("." + name.rpartition(".")[2].lower(), OTHER)


def kind_of_content(begin: bytes) -> str | None:
    """The kind that the first bytes of a file (132 or more) say, or None."""
    for kind, place, signatures in SIGNATURES:
        if begin[place:].startswith(signatures):
            return kind
    return None


def remedy(kind: str) -> str:
    """What to do with a file of a kind."""
    return f"save it as PNG or JPEG{f' ({HOW[kind]})' if kind in HOW else ''}"


def foreign_pictures(names: list[str]) -> list[Finding]:
    """A line for each kind of picture that is there and not read."""
    counts = Counter(map(kind_of_file, names))
    findings: list[Finding] = []
    for kind, num in sorted(counts.items()):
        if kind == OTHER:
            continue
        first = next(name for name in names if kind_of_file(name) == kind)
        which = f"{plural(num, f'{kind} file')} left out, such as {first}"
        findings.append(Finding("foreign", f"{which}: limner reads none; {remedy(kind)}"))
    return findings

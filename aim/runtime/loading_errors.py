"""Why a checkpoint was not loaded, in a sentence for whoever named it. An exception that no reason here fits stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from huggingface_hub import errors as hub
from safetensors import SafetensorError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from aim.kernels.refusal import Refusal
from aim.runtime.checkpoint_files import PICKLES
from aim.runtime.failure import ADAPTER, CONFIG, FAMILY, GENERATION, ODD_PICTURES, PICTURES, TEMPLATE, WEIGHTS, Failure
from aim.runtime.faults import is_disk_full, is_out_of_memory
from aim.runtime.other_formats import is_original


@contextmanager
def told(source: str) -> Iterator[None]:
    """A block in which what loading a checkpoint raises becomes a `Refusal`, where `REASONS` knows the reason.

    Faults of the machine (memory, disk) and exceptions that no reason fits are raised as they are.

    Raises:
        Refusal: the checkpoint cannot be loaded, for a reason that is known.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Refusal) or is_out_of_memory(error) or is_disk_full(error):
            raise
        failure = Failure(source, error)
        for fits, sentence in REASONS:
            if fits(failure):
                raise Refusal(" ".join(sentence.format(f=failure).split())) from error
        raise


_GGUF = '"{f.name}" is made for llama.cpp (GGUF). Checkpoints are read in transformers format, with weights in safetensors. Load {f.plain}.'
_ADAPTER = (
    '"{f.name}" is an adapter of {f.base}, so merge it first. Load the base model, call '
    "`PeftModel.from_pretrained(model, adapter).merge_and_unload()`, save the result and the processor with `save_pretrained`, "
    "and load that folder."
)

_ODD_CONFIG = (
    'The config.json of "{f.name}" holds a value that {f.library} does not accept. Download it again, or choose another checkpoint.'
)

# (whether it fits, the sentence). The first reason that fits is given. So one that explains more comes before one that explains less, and
# those that ask the Hub come late.
REASONS: tuple[tuple[Callable[[Failure], object], str], ...] = (
    (
        lambda f: f.files.is_file and f.source.lower().endswith(".gguf"),
        _GGUF,
    ),
    (
        lambda f: f.files.is_file,
        '"{f.name}" is a file, and a checkpoint is a folder. Give the folder that holds config.json and the safetensors.',
    ),
    (
        lambda f: not f.files.is_folder and f.raised(hub.HFValidationError),
        '"{f.name}" is neither a folder on this machine nor a Hub id. Give "bundled", a checkpoint folder, or a Hub id such as '
        '"llava-hf/llava-onevision-qwen2-0.5b-ov-hf".',
    ),
    (
        lambda f: f.found == ADAPTER or "adapter_config.json" in f.files.here,
        _ADAPTER,
    ),
    (
        lambda f: is_original(f.config),
        '"{f.name}" is in another format than that of transformers (model type "{f.kind}"), and it needs code of its own, which is never '
        "run here. {f.in_transformers_format}",
    ),
    (
        lambda f: f.says("trust_remote_code") or ("auto_map" in f.config and f.kind not in CONFIG_MAPPING),
        '"{f.name}" needs code of its own, which is never run here. Load a checkpoint in transformers format (many are named with "-hf" at '
        "the end) of one of these types: {f.supported}.",
    ),
    (
        lambda f: "model_type" in f.config and f.kind not in CONFIG_MAPPING,
        '"{f.name}" is of the model type "{f.kind}", which {f.library} does not know. Load a checkpoint of one of these types: '
        "{f.supported}.",
    ),
    # The Hub's answers.
    (
        lambda f: f.raised(hub.GatedRepoError),
        '"{f.name}" is a gated repository. Ask for access on its page on the Hub, and log in on this machine with `hf auth login`.',
    ),
    (
        lambda f: f.raised(hub.DisabledRepoError),
        '"{f.name}" was disabled on the Hub. Choose another checkpoint.',
    ),
    (
        lambda f: f.raised(hub.RepositoryNotFoundError),
        'There is no folder "{f.name}" on this machine, and no repository of that name that it may read on the Hub. Check the spelling, or '
        "log in with `hf auth login` if the repository is private.",
    ),
    (
        lambda f: f.status in (401, 403),
        'The Hub does not let this machine read "{f.name}". Log in with `hf auth login`, with a token that may read it.',
    ),
    (
        lambda f: f.status == 429 or (f.status or 0) >= 500,
        'The Hub cannot give "{f.name}" out at the moment: it answered with the error {f.status}. Try again in a few minutes.',
    ),
    (
        lambda f: f.is_offline,
        "{f.amount} on this machine, which is set to offline (HF_HUB_OFFLINE). Download it with `hf download {f.name}` while the network "
        "is on, or give a folder.",
    ),
    (
        lambda f: f.is_unreachable,
        "{f.amount} on this machine, and the Hub cannot be reached. Check the network and try again, or give a folder.",
    ),
    # What is and is not there.
    (
        lambda f: f.raised(PermissionError),
        'The files of "{f.name}" may not be read by the user that runs this program. Give that user the right to read them.',
    ),
    (
        lambda f: f.files.folder_for_file,
        'The checkpoint "{f.name}" is incomplete or damaged: {f.files.folder_for_file} is a folder. Download it again.',
    ),
    (
        lambda f: f.files.damaged_text,
        'The checkpoint "{f.name}" is incomplete or damaged: {f.files.damaged_text} is no text in UTF-8. Download it again.',
    ),
    (
        lambda f: f.files.damaged_json,
        'The checkpoint "{f.name}" is incomplete or damaged: {f.files.damaged_json} holds no JSON object. Download it again.',
    ),
    (
        lambda f: f.files.has(".gguf") and not f.files.has(".safetensors"),
        _GGUF,
    ),
    (
        lambda f: "adapter_config.json" in f.files.names,
        _ADAPTER,
    ),
    (
        lambda f: f.is_half,
        'The checkpoint "{f.name}" is incomplete or damaged: files of its weights are missing, as in half a download. Download it again.',
    ),
    (
        lambda f: "config.json" not in f.files.names,
        'The {f.place} "{f.name}" holds no config.json, so it is no checkpoint. Give a folder or repository in transformers format.',
    ),
    (
        lambda f: "model_type" not in f.config,
        'The config.json of "{f.name}" names no model_type, so it is no checkpoint in transformers format. Load one of these types: '
        "{f.supported}.",
    ),
    (
        lambda f: f.found == CONFIG or f.raised(hub.StrictDataclassError),
        _ODD_CONFIG,
    ),
    (
        lambda f: f.without_sdpa,
        '"{f.name}" cannot be served: its {f.without_sdpa} needs eager attention, and tokens are reduced under SDPA alone. Choose a '
        "checkpoint whose text model runs under SDPA.",
    ),
    (
        lambda f: f.quantised and f.raised(ImportError),
        '"{f.name}" is quantised ({f.quantised}), which needs the package {f.package}. Run `pip install {f.package}`, or load {f.plain}.',
    ),
    (
        lambda f: f.raised(ImportError) and f.says("timm"),
        '"{f.name}" has a vision tower of the package timm, which is not installed here. Run `pip install timm torchvision`, or choose '
        "another checkpoint.",
    ),
    (
        lambda f: f.quantised and f.says("GPU"),
        '"{f.name}" is quantised ({f.quantised}), which needs a GPU that this machine does not have. Load {f.plain}.',
    ),
    (
        lambda f: f.files.has(*PICKLES) and not f.files.has(".safetensors"),
        '"{f.name}" has its weights in pickles ({f.pickle}), which can run code, and no safetensors, the only ones read here. Save it with '
        "`save_pretrained` of transformers, or choose another checkpoint.",
    ),
    (
        lambda f: f.files.pointer,
        'The checkpoint "{f.name}" is incomplete or damaged: {f.files.pointer} is a pointer of Git LFS. Run `git lfs pull` in its folder.',
    ),
    (
        lambda f: not f.files.has(".safetensors"),
        'The checkpoint "{f.name}" is incomplete or damaged: it holds no safetensors, the only weights read here. Download it again, or '
        "choose another one.",
    ),
    (
        lambda f: f.raised(SafetensorError),
        'The checkpoint "{f.name}" is incomplete or damaged: a file of its weights cannot be read to the end. Download it again.',
    ),
    (
        lambda f: f.quantised and (f.found == WEIGHTS or f.says("ignore_mismatched_sizes")),
        '"{f.name}" is quantised in a way ({f.quantised}) that {f.library} cannot load into this model. Load {f.plain}.',
    ),
    (
        lambda f: f.found == WEIGHTS,
        'The checkpoint "{f.name}" is incomplete or damaged: some of its weights are missing. Download it again, or choose another one.',
    ),
    (
        lambda f: f.says("ignore_mismatched_sizes"),
        'The checkpoint "{f.name}" is incomplete or damaged: its weights have other sizes than its config.json says. Download it again.',
    ),
    (
        lambda f: f.found == FAMILY,
        'The config.json of "{f.name}" names the model type "{f.kind}" and the class {f.built_as}, which is of another type. '
        "Download it again.",
    ),
    # What turns frames and words into inputs.
    (
        lambda f: f.found == GENERATION,
        'The generation_config.json of "{f.name}" holds a value that {f.library} does not accept. Download it again, or correct it.',
    ),
    (
        lambda f: f.found == ODD_PICTURES,
        '"{f.name}" has picture settings that do not fit a model of the type "{f.kind}". Download processor_config.json, '
        "preprocessor_config.json and video_preprocessor_config.json again.",
    ),
    (
        lambda f: f.says("backend tokenizer|added_tokens|data did not match|Tokenizer class"),
        'The tokenizer of "{f.name}" is missing, damaged or of a kind that {f.library} does not know. Download tokenizer.json and '
        "tokenizer_config.json again.",
    ),
    (
        lambda f: f.found == TEMPLATE,
        '"{f.name}" has no chat template, which makes a prompt of a question. Add chat_template.jinja to it, or choose a checkpoint '
        "that is trained to chat.",
    ),
    (
        lambda f: f.found == PICTURES,
        '"{f.name}" has no picture settings. One of these files must hold them: video_preprocessor_config.json, processor_config.json, '
        "preprocessor_config.json.",
    ),
    # What these two ask takes a moment, or says little.
    (
        lambda f: f.is_odd_config,
        _ODD_CONFIG,
    ),
    (
        lambda f: f.quantised,
        '"{f.name}" is quantised ({f.quantised}), and {f.library} could not load it here. Load {f.plain}.',
    ),
)

#!/usr/bin/env python3
"""Makes the tokenizer of the demo checkpoint: spiece.model, tokenizer.json, tokenizer_config.json.

The text that it learns from is made here: captions put together from word lists, and a few sentences
in other languages. It was made before the models were trained and is kept as it is, since ids are
what the text encoder learnt; the same versions of the packages write the same bytes again.

    pip install numpy sentencepiece "transformers<5" protobuf
    python3 checkpoints/training/tokenizer.py FOLDER

transformers is used for one thing, the conversion of the sentencepiece model to tokenizer.json.
"""

import io
import json
import os
import sys

import numpy as np

SEED = 20253
EXTRA_IDS = 16


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


NOUNS = """ball cube box car boat train bird cat dog fish horse tree flower leaf river mountain sea
wave cloud moon sun star sky city street house bridge tower window door table chair lamp candle fire
smoke rain snow storm wind field forest garden desert island beach road path robot child woman man
girl boy dancer painter sailor astronaut balloon kite bicycle clock mirror bottle glass cup circle
square triangle ring line dot stripe wall floor camera light shadow reflection butterfly elephant
rabbit turtle whale ocean lake waterfall castle village market lantern umbrella guitar piano""".split()
ADJECTIVES = """red green blue yellow orange purple white black grey pink brown golden silver bright
dark small large tiny huge slow fast round square soft sharp calm wild old new young quiet warm cold
shiny wet dry smooth rough colourful transparent glowing distant close beautiful cinematic detailed
realistic striped dotted wooden metal paper snowy sunny foggy stormy empty busy""".split()
VERBS = """moves rolls jumps bounces falls rises turns spins flies swims runs walks dances sings
shines fades grows shrinks opens closes drifts floats waits sleeps crosses follows leaves enters
passes reaches climbs slides swings explodes melts freezes burns waves looks smiles""".split()
PLACES = """over under behind beside above below through around across near along inside between
towards against from into onto at in on with without before after""".split()
ADVERBS = """slowly quickly gently suddenly smoothly quietly brightly softly twice again forever
together alone left right upwards downwards""".split()
STYLES = """a close-up|a wide shot|slow motion|time-lapse|aerial view|handheld camera|4k, highly
detailed|black and white film|oil painting|watercolour|pixel art|soft light|golden hour|at night|
in the rain|with a blurred background|25 frames per second|low quality, blurred, still picture|
bright colours, overexposed, static, subtitles|worst quality, low resolution, JPEG artefacts""".replace(
    "\n", " "
).split("|")
OTHER_LANGUAGES = [
    "Ein roter Ball rollt langsam über die grüne Wiese.",
    "Eine Katze schläft auf dem Fensterbrett, während es draußen schneit.",
    "Der Zug fährt über eine alte Brücke und verschwindet im Nebel.",
    "Une balle rouge roule doucement sur l'herbe verte.",
    "Le chat dort près de la fenêtre pendant qu'il neige dehors.",
    "Un bateau à voile traverse la mer au coucher du soleil.",
    "Una pelota roja rueda despacio por la hierba verde.",
    "El niño corre por la playa y salta sobre las olas.",
    "Una palla rossa rotola lentamente sul prato verde.",
    "Czerwona piłka toczy się powoli po zielonej trawie.",
    "Kırmızı bir top yeşil çimenlerin üzerinde yavaşça yuvarlanıyor.",
    "Красный мяч медленно катится по зелёной траве.",
    "Кошка спит у окна, а на улице идёт снег.",
    "Парусник плывёт по спокойному морю на закате.",
    "Μια κόκκινη μπάλα κυλάει αργά στο πράσινο γρασίδι.",
    "红色的球在绿色的草地上慢慢滚动。",
    "一只猫在窗边睡觉，外面正在下雪。",
    "帆船在夕阳下驶过平静的大海。",
    "赤いボールが緑の芝生をゆっくり転がる。",
    "窓のそばで猫が眠っていて、外は雪が降っている。",
    "빨간 공이 초록색 잔디 위를 천천히 굴러간다.",
    "كرة حمراء تتدحرج ببطء على العشب الأخضر.",
    "כדור אדום מתגלגל לאט על הדשא הירוק.",
    "एक लाल गेंद हरी घास पर धीरे-धीरे लुढ़कती है।",
    "ลูกบอลสีแดงกลิ้งช้า ๆ บนสนามหญ้าสีเขียว",
]


def sentences(count, seed):
    """Captions of videos: the language that prompts are written in, mostly English."""
    random = np.random.Generator(np.random.PCG64(seed))

    def pick(words):
        return words[int(random.integers(len(words)))].strip()

    def thing():
        adjectives = [pick(ADJECTIVES) for _ in range(int(random.integers(0, 3)))]
        return " ".join([pick(["a", "the", "one", "two", "some"])] + adjectives + [pick(NOUNS)])

    for i in range(count):
        if i % 8 == 7:
            yield pick(OTHER_LANGUAGES)
            continue
        text = f"{thing()} {pick(VERBS)} {pick(PLACES)} {thing()}"
        if random.random() < 0.5:
            text += f" {pick(ADVERBS)}"
        if random.random() < 0.4:
            text += f", {pick(['while', 'and', 'as', 'then'])} {thing()} {pick(VERBS)}"
        if random.random() < 0.4:
            text += f", {pick(STYLES)}"
        yield text[0].upper() + text[1:] + pick([".", ".", "", "!"])


def make_tokenizer(folder, seed):
    """spiece.model as UMT5 has it (pad 0, </s> 1, <s> 2, <unk> 3, byte pieces, nmt_nfkc) and its
    tokenizer.json and tokenizer_config.json. Returns the number of ids."""
    import sentencepiece
    from transformers import T5Tokenizer
    from transformers.convert_slow_tokenizer import T5Converter

    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(6000, seed),
        model_writer=model,
        model_type="unigram",
        vocab_size=900,
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        input_sentence_size=0,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    with open(os.path.join(folder, "spiece.model"), "wb") as f:
        f.write(model.getvalue())

    class ByteFallbackConverter(T5Converter):
        # transformers drops byte fallback in conversion, so that unknown characters would become
        # <unk> in one file and bytes in the other.
        handle_byte_fallback = True

    slow = T5Tokenizer(os.path.join(folder, "spiece.model"), extra_ids=EXTRA_IDS, legacy=True)
    fast = ByteFallbackConverter(slow).converted()
    fast.add_special_tokens(
        [
            token
            for _, token in sorted(slow.added_tokens_decoder.items())
            if token.content.startswith("<extra_id_")
        ]
    )
    fast.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    added = json.loads(fast.to_str())["added_tokens"]
    write_json(
        os.path.join(folder, "tokenizer_config.json"),
        {
            "added_tokens_decoder": {
                str(token["id"]): {k: token[k] for k in sorted(token) if k != "id"}
                for token in added
            },
            "additional_special_tokens": [f"<extra_id_{i}>" for i in range(EXTRA_IDS)],
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "extra_ids": EXTRA_IDS,
            "legacy": True,
            "model_max_length": 512,
            "pad_token": "<pad>",
            "tokenizer_class": "T5Tokenizer",
            "unk_token": "<unk>",
        },
    )
    return fast.get_vocab_size(with_added_tokens=True)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    print(make_tokenizer(sys.argv[1], SEED), "ids")

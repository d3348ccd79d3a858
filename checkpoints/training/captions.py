"""Token ids of captions, from the checkpoint's own sentencepiece model."""

import os

import sentencepiece
import torch

EOS = 1
SPIECE = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "stardit-demo", "tokenizer", "spiece.model"
)


class Tokenizer:
    def __init__(self, path=SPIECE):
        self.model = sentencepiece.SentencePieceProcessor(model_file=path)
        self.cache = {}

    def ids(self, words):
        """Ids of words that are one piece each."""
        pieces = [self.model.encode(word) for word in words]
        assert all(len(piece) == 1 for piece in pieces), pieces
        return [piece[0] for piece in pieces]

    def __call__(self, texts):
        """ids [batch, longest], zero-padded, and lengths [batch], </s> included."""
        for text in texts:
            if text not in self.cache:
                self.cache[text] = self.model.encode(text) + [EOS]
        rows = [self.cache[text] for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return ids, lengths

"""Clusters of document embeddings by a mixture of von Mises-Fisher distributions.

3000 documents of five topics are drawn as bags of words and embedded in 64 dimensions: log counts
times inverse document frequency, projected by a singular value decomposition, at unit length.
The mixture chooses the number of clusters by the Bayesian information criterion. The outcome is
the purity: the share of documents whose topic is that of most documents in their cluster.

    python docs/examples/cluster_embeddings.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels.cluster import VonMisesFisherMixture

TOPICS, WORDS, DOCUMENTS, DIM = 5, 800, 3000, 64


def documents() -> tuple[Tensor, Tensor]:
    """Word counts (DOCUMENTS, WORDS), and the topic of each document."""
    frequencies = torch.distributions.Dirichlet(torch.full((WORDS,), 0.1)).sample((TOPICS,))
    common = torch.distributions.Dirichlet(torch.full((WORDS,), 1.0)).sample()
    topic = torch.arange(DOCUMENTS) % TOPICS
    rates = 40 * (0.25 * frequencies[topic] + 0.75 * common)
    return torch.poisson(rates), topic


def embed(counts: Tensor) -> Tensor:
    """Unit vectors (DOCUMENTS, DIM)."""
    rarity = (len(counts) / (1 + (counts > 0).sum(0))).log()
    left, size, _ = torch.svd_lowrank(counts.log1p() * rarity, DIM)
    return torch.nn.functional.normalize(left * size, dim=-1)


def main() -> float:
    """The purity of the clusters."""
    torch.manual_seed(0)
    counts, topic = documents()
    embeddings = embed(counts)
    fits = {
        k: VonMisesFisherMixture(k, concentration="tied", n_init=2, random_state=0).fit(embeddings)
        for k in (3, 4, 5, 6, 7)
    }
    chosen = min(fits, key=lambda k: fits[k].bic(embeddings))
    label = torch.as_tensor(fits[chosen].predict(embeddings))
    table = torch.zeros(chosen, TOPICS).index_put_((label, topic), torch.ones(()), accumulate=True)
    purity = (table.max(1).values.sum() / len(topic)).item()
    print(f"{chosen} clusters of {TOPICS} topics, purity {purity:.3f}")
    print(table.int())
    return purity


if __name__ == "__main__":
    main()

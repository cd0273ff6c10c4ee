"""Training as if a modality were missing: what ablations, and shares of missing speech, are measured by on one and the same dataset."""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ms2sl.config import Config
from ms2sl.data.collate import Batch, Collate


class MaskConfig(Config):
    """What of the training clips is kept from the model. Which clips it is depends on their ids alone; those of a smaller share are among
    those of a larger one."""

    text: float = Field(0.0, ge=0, le=1, description="share of training clips whose text is hidden")
    speech: float = Field(0.0, ge=0, le=1, description="share of training clips whose speech is hidden")


class MaskingCollate(Collate):
    """Batches without what is hidden."""

    def __init__(self, collate: Collate, mask: MaskConfig):
        super().__init__(collate.skeleton, collate.text, collate.speech, collate.fields)
        self.mask = mask

    def __call__(self, table: pa.Table) -> Batch:
        for modality, share in self.mask:
            if not share:
                continue
            column = f"{modality}_features"
            shown = pc.if_else(pa.array(_drawn(table["id"], modality) >= share), table[column], None)
            table = table.set_column(table.schema.get_field_index(column), column, shown)
        return super().__call__(table)


def _drawn(ids: pa.ChunkedArray, modality: str) -> np.ndarray:
    """A number in [0, 1) for each clip."""
    return np.array([zlib.crc32(f"{modality} of {id}".encode()) / 2**32 for id in ids.to_pylist()])

"""Where clips come from: one module a source, one line each in the registry.

To add a corpus, write a class as ``Corpus`` describes it (``RecordCorpus`` does most of it for corpora of files), add its line here, and
put it through ``ms2sl.corpora.contract.check``.
"""

from ms2sl.corpora.asl_fingerspelling import AslFingerspelling
from ms2sl.corpora.asl_signs import AslSigns
from ms2sl.corpora.composed import Composed
from ms2sl.corpora.films import Films
from ms2sl.corpora.fingerspelling import Fingerspelling
from ms2sl.corpora.how2sign import How2Sign
from ms2sl.corpora.phoenix14t import Phoenix14T
from ms2sl.corpora.posefiles import PoseFiles
from ms2sl.corpora.slrtp import Slrtp
from ms2sl.corpora.takes import Takes
from ms2sl.data.corpus import Corpus

CORPORA: dict[str, type[Corpus]] = {
    corpus.name: corpus
    for corpus in (Fingerspelling, How2Sign, Phoenix14T, Slrtp, PoseFiles, Films, Takes, AslSigns, AslFingerspelling, Composed)
}

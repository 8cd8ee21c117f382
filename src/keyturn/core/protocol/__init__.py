"""The protocol of one key, whole.

A key's events form a log. The *cursor* says up to where the key is finished, the *tail* up to where events were
admitted. A key is `idle` (cursor == tail), `waiting` (for a slot, or for a time), `running` (one attempt at one
run, which is a slice of consecutive events behind the cursor) or `parked` (a person must act). A *replay* moves the
cursor back over finished events, and forward again behind its last one; the log stays as it is.

Every attempt takes the next *fence* of its key, and belongs to the one execution that binds itself to it first; one
that the execution of the run before goes on with (see `draining`) belongs to that from its claim on. Whatever carries
an older fence, or comes from another execution, changes nothing. `not_before_ms` keeps the next attempt or run of a
key back until no worker of an earlier one can be at work any more: an attempt that ended in any way but a clean finish
may have a worker inside a step, and such a worker is dead by the earlier of the run's deadline (no worker begins that
could outlive it) and the longest worker timeout from now.

`transition` is a pure function: no I/O, no clock, no randomness. It returns

* the new state, which the shell writes if nobody else changed the key meanwhile (compare-and-set on `version`),
* records, which the shell writes first: they are the same item when written twice,
* actions, which the shell carries out last; each may be lost or repeated, see `actions`,
* or a refusal: why nothing changes. Redelivery, zombies and repeated calls are normal here, so a refusal is an
  answer and not an error. Its actions may be there nevertheless: a claimed run nobody began is started again, or
  handed to the execution that it is bound to.

Where to find it: `table` says which phase takes which command, `decision` what a command comes to; the commands
themselves are in `queueing` (a key's place in line), `attempts` (the run under way) and `operations` (what a person
asks for); whatever ends a run leads to `going_on`, where the key's next move is decided.

Which command a phase takes; a missing cell changes nothing, and the refusal says why:

    idle     Admit  Hold  Release  Rewind                Postpone
    waiting  Admit  Hold  Release  Rewind  CancelReplay  Postpone  Claim  Park  Retime
    running  Admit  Hold  Release  Rewind  CancelReplay            Bind  Extend  Finish  Expire  GiveUp  Retime
    parked   Admit  Hold  Release          CancelReplay  Postpone  Divert  Resume  Skip

The cell Finish x parked, for one, is empty because parking ended the last attempt: that finish comes a second time. The
cell Rewind x parked is empty because a person must first say what becomes of the run that failed. The cell
CancelReplay x idle is empty because a key with a replay has something to run.
"""

from keyturn.core.protocol.decision import Refusal, Rules, Transition
from keyturn.core.protocol.going_on import NO_ROUTE
from keyturn.core.protocol.table import ACCEPTS, transition

__all__ = ["ACCEPTS", "NO_ROUTE", "Refusal", "Rules", "Transition", "transition"]

"""What makes a search that several processes share go on when one of them ends.

keras-tuner gives the trial of a tuner that is dead to nobody, and its chief waits for it for ever; a chief
that is started again gives away the trials that others still train. Here every tuner shows that it is alive,
by a file, and the chief looks at these: the processes have the search's directory in common.
"""

import contextlib
import datetime
import os
import pathlib
import threading
import time

import grpc
import keras_tuner
from keras_tuner.engine.trial import TrialStatus

BEAT = 10  # seconds
DEAD = 120  # seconds without a beat


def is_chief():
    """Whether this process gives the trials to the others."""
    return os.environ.get("KERASTUNER_TUNER_ID") == "chief"


def is_tuner():
    """Whether this process gets its trials from a chief."""
    return os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief"


def _address():
    return f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"


@contextlib.contextmanager
def repeated(function, seconds):
    """Calls a function every so many seconds, and now, as long as the block lasts."""
    over = threading.Event()

    def run():
        while not over.wait(seconds):
            function()

    function()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def beating(directory):
    """A context in which a tuner shows that it is alive; for another process nothing happens."""
    if not is_tuner():
        return contextlib.nullcontext()
    file = _beats(directory) / os.environ["KERASTUNER_TUNER_ID"]
    file.parent.mkdir(parents=True, exist_ok=True)
    print(f"asking the chief at {_address()} for trials, waiting where it is not there yet", flush=True)

    def beat():
        with contextlib.suppress(OSError):  # the next one may be possible
            file.write_text(str(time.time_ns()))

    return repeated(beat, BEAT)


def _beats(directory):
    return pathlib.Path(directory, "keras-tuner", "alive")


class SharedOracle(keras_tuner.Oracle):
    """Gives the trials of tuners that are dead to others, which go on from the last checkpoint."""

    def watching(self, directory):
        """A context in which the chief looks which tuners are alive; for another process nothing happens."""
        if not is_chief():
            return contextlib.nullcontext()
        self._beats, self._seen = _beats(directory), {}
        print(f"giving trials to tuners at {_address()}, until one of them finds none left", flush=True)
        return repeated(self.bury, BEAT)

    @keras_tuner.synchronized
    def bury(self):
        """Takes back the trials of the tuners that are dead."""
        for tuner in {*self.tuner_ids, *self.ongoing_trials}:
            if not self._is_dead(tuner):
                continue
            self.tuner_ids.discard(tuner)
            trial = self.ongoing_trials.pop(tuner, None)
            if trial:
                self._retry_queue.append(trial.trial_id)
            lost = f"; another one goes on with its trial {trial.trial_id}" if trial else ""
            print(f"{tuner} has not been heard of for {DEAD} s{lost}", flush=True)

    def _is_dead(self, tuner):
        """By this machine's clock: that of another may differ."""
        now = time.monotonic()
        try:
            beat = (self._beats / tuner).read_text()
        except OSError:
            beat = None
        last, when = self._seen.setdefault(tuner, (beat, now))
        if beat != last:
            self._seen[tuner] = beat, now
            return False
        return now - when > DEAD

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            trial.status = TrialStatus.IDLE  # if one of those who train dies, its trial is left
            self.tuner_ids.add(tuner_id)
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial):
        # A chief that was killed may have ended it and not have said so.
        if trial.trial_id not in self.end_order:
            super().end_trial(trial)

    def set_state(self, state):
        super().set_state(state)
        self._were_ongoing = dict(self.ongoing_trials)
        # keras-tuner saves a trial before its display notes when it began, and fails where that ends.
        display, now = self._display, datetime.datetime.now()
        display.search_start = display.search_start or now
        for number, trial in enumerate(self.start_order, 1):
            display.trial_start.setdefault(trial, now)
            display.trial_number.setdefault(trial, number)

    def reload(self):
        super().reload()
        if not is_chief():
            return
        # keras-tuner would have the trials done again, while those who train them go on.
        for tuner, trial in self._were_ongoing.items():
            self._retry_queue.remove(trial.trial_id)
            if trial.status == TrialStatus.RUNNING:
                self.ongoing_trials[tuner] = trial
                self.tuner_ids.add(tuner)


def shared(oracle):
    """A class of keras-tuner's oracles as a `SharedOracle`."""
    return type(oracle.__name__, (SharedOracle, oracle), {})


class PatientStub:
    """Asks the chief again while it is away: it may be started again.

    Args:
        stub: gRPC's, which `keras_tuner` asks.
    """

    def __init__(self, stub):
        self._stub = stub

    def __getattr__(self, name):
        call = getattr(self._stub, name)

        def patient(request, **options):
            while True:
                try:
                    return call(request, **options)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:  # pyright: ignore[reportAttributeAccessIssue]
                        raise
                print("the chief is away; asking it again", flush=True)
                time.sleep(BEAT)

        return patient

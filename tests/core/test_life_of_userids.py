"""Any life of a few userids: joined, read late, renamed, gone, out of sight, back, taken over by others."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.core.directory import WITHHELD, Membership, User
from app.core.plan import plan_gone_user, plan_rename, plan_unseen_user

from .directory_model import EVERYWHERE, Directory, apply_changes, read_user
from .strategies import SINCE

KEYS = ("anna", "bo", "chen")
reads = st.builds(
    User,
    st.sampled_from((*KEYS, "Anna", "BO")),
    name=st.sampled_from((None, "安娜", "波")),
    alias=st.sampled_from((None, "", "a")),
    status=st.sampled_from((None, 1, 5)),
    memberships=st.sampled_from((None, (), (Membership(1),), (Membership(1, 1), Membership(2)))),
)


class Lives(RuleBasedStateMachine):
    """`now` is the newest observation number; a late answer carries one from before."""

    def __init__(self):
        super().__init__()
        self.directory, self.now = Directory(), 0

    @rule(desired=reads)
    def read(self, desired):
        self.now += 1
        self._become(read_user(self.directory, desired, self.now)[0])
        found = self.directory.holder(desired.userid)
        assert found.value.userid == desired.userid
        assert found.active or desired.left or desired.status is None

    @rule(desired=reads, late=st.integers(0, 20))
    def answer_late(self, desired, late):
        held = self.directory.holder(desired.userid)
        if held is not None and self.now - late <= held.observed:
            assert read_user(self.directory, desired, self.now - late)[1] == []

    @rule(key=st.sampled_from(KEYS), late=st.integers(0, 5))
    def prove_gone(self, key, late):
        self._absent(key, late, plan_gone_user)

    @rule(key=st.sampled_from(KEYS), late=st.integers(0, 5))
    def lose_sight(self, key, late):
        self._absent(key, late, lambda held, observed: plan_unseen_user(held, observed, SINCE))

    @precondition(lambda self: self.directory.users)
    @rule(old=st.sampled_from(KEYS), desired=reads, late=st.integers(0, 5))
    def rename(self, old, desired, late):
        person, meanwhile = self.directory.holder(old), self.directory.holder(desired.userid)
        if person is None or desired.key == old:
            return
        self.now += 1
        observed = self.now - late
        changes = plan_rename(person, meanwhile, desired, observed, readable=WITHHELD, in_range=EVERYWHERE)
        self._become(apply_changes(self.directory, changes))
        found = self.directory.holder(desired.userid)
        if any(change.action == "rename" for change in changes):
            assert found.id == person.id
            assert self.directory.holder(old) is None
        else:
            assert self.directory.holder(old) == person

    def _absent(self, key, late, plan):
        held = self.directory.holder(key)
        if held is not None:
            self.now += 1
            self._become(apply_changes(self.directory, plan(held, self.now - late)))

    def _become(self, directory):
        before, self.directory = self.directory, directory
        assert before.users.keys() <= directory.users.keys()
        assert before.retired <= directory.retired
        for id_, held in before.users.items():
            found = directory.users[id_]
            assert found.observed >= held.observed
            assert id_ not in before.retired or found == held

    @invariant()
    def a_userid_has_one_holder_and_who_gave_it_up_has_nothing(self):
        for id_ in self.directory.retired:
            retired = self.directory.users[id_]
            assert not retired.active
            assert retired.value.memberships == ()
        keys = [u.value.key for id_, u in self.directory.users.items() if id_ not in self.directory.retired]
        assert len(keys) == len(set(keys))

    @invariant()
    def reading_again_changes_nothing(self):
        for key in KEYS:
            held = self.directory.holder(key)
            if held is not None:
                seen = replace(held.value, status=5) if not held.active else held.value
                directory, _ = read_user(self.directory, seen, self.now + 1)
                assert read_user(directory, seen, self.now + 2)[1] == []


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=100, stateful_step_count=25)

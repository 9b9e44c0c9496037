"""Trees as they come: parents that are missing, their own ancestors, or thousands of levels up."""

from hypothesis import given
from hypothesis import strategies as st

from app.core.directory import Department
from app.core.plan import cut_cycles, parents_first

from .strategies import forests

few = st.integers(1, 9)
graphs = st.dictionaries(few, st.tuples(st.none() | st.integers(1, 12), st.integers(1, 4)))
DEEP = 30_000


def cycles_of(parents):
    """Every cycle, found by walking from each department until one comes up again."""
    found = set()
    for start in parents:
        steps = [start]
        while (parent := parents.get(steps[-1], (None,))[0]) is not None and parent not in steps:
            steps.append(parent)
        if parent is not None:
            found.add(frozenset(steps[steps.index(parent) :]))
    return found


def without(parents, cut):
    return {number: (None if number in cut else parent, observed) for number, (parent, observed) in parents.items()}


def chain(count, number=int):
    """Departments 1 ← 2 ← … ← count, the deepest first."""
    return [Department(number(n), parent_id=number(n - 1) if n > 1 else None) for n in range(count, 0, -1)]


class Compared(int):
    """A department id that counts how often it is compared."""

    count = 0

    def __eq__(self, other):
        Compared.count += 1
        return super().__eq__(other)

    __hash__ = int.__hash__


class TestCutCycles:
    @given(graphs)
    def test_no_cycle_is_left(self, parents):
        assert not cycles_of(without(parents, cut_cycles(parents)))

    @given(graphs)
    def test_of_each_cycle_only_the_oldest_edge_is_cut(self, parents):
        oldest = {min(cycle, key=lambda number: (parents[number][1], number)) for cycle in cycles_of(parents)}
        assert cut_cycles(parents) == oldest

    @given(graphs, st.data())
    def test_the_order_of_departments_does_not_matter(self, parents, data):
        shuffled = dict(data.draw(st.permutations(list(parents.items()))))
        assert cut_cycles(shuffled) == cut_cycles(parents)

    @given(forests())
    def test_a_forest_is_left_alone(self, forest):
        assert cut_cycles({d.department_id: (d.parent_id, 1) for d in forest}) == set()

    def test_the_move_read_first_gives_way(self):
        assert cut_cycles({1: (None, 9), 2: (3, 7), 3: (4, 5), 4: (2, 6), 5: (2, 1)}) == {3}

    def test_a_department_may_be_its_own_parent_or_have_one_unknown(self):
        assert cut_cycles({1: (1, 5), 2: (99, 1)}) == {1}

    def test_a_ring_of_thousands_is_cut_once(self):
        ring = {number: (number % DEEP + 1, 1 if number == 777 else 2) for number in range(1, DEEP + 1)}
        assert cut_cycles(ring) == {777}

    def test_a_deep_chain_costs_a_few_steps_for_each_department(self):
        parents = {d.department_id: (d.parent_id, 1) for d in chain(3000, Compared)}
        Compared.count = 0
        assert cut_cycles(parents) == set()
        assert Compared.count < 10 * len(parents)


class TestParentsFirst:
    @given(forests())
    def test_parents_come_before_children(self, forest):
        order = parents_first(forest)
        place = {department.department_id: index for index, department in enumerate(order)}
        assert sorted(map(repr, order)) == sorted(map(repr, forest))
        assert all(d.parent_id is None or place[d.parent_id] < place[d.department_id] for d in order)

    @given(graphs)
    def test_of_a_cycle_one_comes_as_if_it_were_at_the_top(self, parents):
        given_ = [Department(number, parent_id=parent) for number, (parent, _) in parents.items()]
        order = parents_first(given_)
        assert sorted(order, key=repr) == sorted(given_, key=repr)
        place = {department.department_id: index for index, department in enumerate(order)}
        early = {d.department_id for d in order if place.get(d.parent_id, -1) >= place[d.department_id]}
        cycles = cycles_of(parents)
        assert len(early) == len(cycles)
        assert all(len(early & cycle) == 1 for cycle in cycles)

    def test_a_parent_that_is_not_listed_is_no_obstacle(self):
        orphan, child = Department(5, parent_id=99), Department(6, parent_id=5)
        assert parents_first(iter([child, orphan])) == [orphan, child]

    def test_thousands_of_levels(self):
        departments = chain(DEEP)
        assert parents_first(departments) == departments[::-1]

    def test_a_deep_chain_costs_a_few_steps_for_each_department(self):
        departments = chain(3000, Compared)
        Compared.count = 0
        order = parents_first(departments)
        assert Compared.count < 10 * len(departments)
        assert order == departments[::-1]

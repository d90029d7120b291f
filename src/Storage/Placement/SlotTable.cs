using System.Buffers.Binary;

namespace ObjectStore.Storage.Placement;

/// <summary>
/// Gives every slot of every group of one width a drive: keeps what can be kept, fills what is empty, then evens out.
///
/// 1. A slot keeps its drive where that can take slots and the group can still be filled up under the rule of spread (<see cref="DomainTree"/>). Where some must go, those go first whose bytes are
///    still on another drive as well.
/// 2. An empty slot goes back to a drive that has its bytes, where that fits.
/// 3. Any other empty slot goes to the drive that is farthest below its share.
/// 4. While a drive has too many slots or too few, one slot is handed on, directly or along a chain of drives, over as few drives as possible.
///
/// The rule of spread always holds; balance gives way to it. The order of groups, and a jitter of one slot, come from hashes: equal input gives an equal table. Used by one thread.
/// </summary>
internal sealed class SlotTable
{
    public const int Empty = -1;

    // A longer way would move more slots than its end is worth.
    private const int LongestChain = 6;

    private readonly DomainTree _tree;
    private readonly int _drives;
    private readonly int _groups;
    private readonly int _width;
    private readonly double _tolerance;
    private readonly int[] _slots;
    private readonly int[][] _sources;
    private readonly ulong[] _driveHashes;
    private readonly int[] _order;

    // Slots that each drive has, and should have.
    private readonly int[] _held;
    private readonly double[] _target;
    private readonly List<int>[] _heldSlots;

    // Of the group at hand: the shards that each domain needs to come to have, the need of its neediest parts and how many these are, and which drives the group has.
    private readonly int[] _need;
    private readonly int[] _neediestCount;
    private readonly int[] _neediest;
    private readonly bool[] _isUsed;

    /// <param name="drives">Those that can take slots.</param>
    /// <param name="slots">Group by group, the drive each slot has now or <see cref="Empty"/>. Changed in place.</param>
    /// <param name="sources">Group by group, drives that had the slot before and may get it back for less; first the one that had it first, since only that one ever had all of it.</param>
    /// <param name="tolerance">By how much of its share a drive may miss it before slots move for the sake of balance; never less than one slot.</param>
    public SlotTable(IReadOnlyList<MappedDrive> drives, int[] slots, int[][] sources, int groups, int width, double tolerance)
    {
        (_drives, _slots, _sources, _groups, _width, _tolerance) = (drives.Count, slots, sources, groups, width, tolerance);
        _tree = new DomainTree(drives, width);
        _target = [.. _tree.Shares().Select(share => Math.Max(share * groups, 1e-6))];
        _driveHashes = [.. drives.Select(drive => HashOf(drive.Id, width))];
        _order = [.. Enumerable.Range(0, groups).OrderBy(group => ClusterMap.Mix(((ulong)width << 32) + (ulong)group + 1))];
        (_held, _heldSlots) = (new int[_drives], [.. drives.Select(_ => new List<int>())]);
        (_need, _neediestCount, _neediest, _isUsed) = (new int[_tree.NodeCount], new int[_tree.NodeCount], new int[_tree.NodeCount], new bool[_drives]);
    }

    public void Plan()
    {
        foreach (int drive in _slots)
        {
            if (drive != Empty)
                _held[drive]++;
        }

        foreach (int group in _order)
        {
            KeepWhatFits(group);
            TakeBack(group);
        }

        // Slot by slot over all groups, so that drives have equal parts in every slot of a new map: the first slots are read most.
        for (int number = 0; number < _width; number++)
        {
            foreach (int group in _order)
            {
                // With fewer drives than slots, those that have none stay as they are: to close the gap would move shards and keep none.
                Span<int> slots = GroupOf(group * _width);
                if (slots[number] == Empty && _width - slots.Count(Empty) < _tree.Slots)
                    Fill(group, number);
            }
        }

        Balance();
    }

    private void KeepWhatFits(int group)
    {
        Span<int> slots = GroupOf(group * _width);
        int[] numbers = [.. Enumerable.Range(0, _width)];

        // Where something must go, it goes from the drives that have too much; but first what may go back to where it was.
        double[] excess = new double[_width];
        for (int number = 0; number < _width; number++)
        {
            excess[number] = slots[number] == Empty ? 0 : (_held[slots[number]] - _target[slots[number]]) / _target[slots[number]];
            excess[number] += _sources[(group * _width) + number].Length > 0 ? 1_000_000 : 0;
        }

        Array.Sort(numbers, (a, b) => excess[a] != excess[b] ? excess[a].CompareTo(excess[b]) : a.CompareTo(b));
        foreach (int number in numbers)
        {
            int drive = slots[number];
            if (drive == Empty)
                continue;
            if (Fits(drive))
            {
                Add(drive);
            }
            else
            {
                _held[drive]--;
                slots[number] = Empty;
            }
        }

        Clear(slots);
    }

    /// <summary>
    /// Before any slot of the group is filled, or a drive that is back would get the first that is empty, and another drive that which it has the bytes of.
    /// </summary>
    private void TakeBack(int group)
    {
        Span<int> slots = GroupOf(group * _width);
        if (slots.IndexOf(Empty) < 0)
            return;
        Load(slots, Empty);
        for (int number = 0; number < _width; number++)
        {
            if (slots[number] != Empty)
                continue;
            foreach (int source in _sources[(group * _width) + number])
            {
                if (!Fits(source))
                    continue;
                Add(source);
                slots[number] = source;
                _held[source]++;
                break;
            }
        }

        Clear(slots);
    }

    private void Fill(int group, int number)
    {
        int slot = (group * _width) + number;
        Span<int> slots = GroupOf(slot);
        Load(slots, Empty);
        (int best, double most) = (Empty, double.NegativeInfinity);
        for (int drive = 0; drive < _drives; drive++)
        {
            if (!Fits(drive))
                continue;
            double jitter = (ClusterMap.Mix(_driveHashes[drive] ^ ClusterMap.Mix((ulong)slot + 1)) >> 11) * (1.0 / (1UL << 53));
            double score = (_target[drive] - _held[drive] + jitter) / _target[drive];
            if (Array.IndexOf(_sources[slot], drive) >= 0)
                score += 1_000;
            if (score > most)
                (best, most) = (drive, score);
        }

        Clear(slots);
        _slots[slot] = best;
        _held[best]++;
    }

    private void Balance()
    {
        foreach (int group in _order)
        {
            for (int slot = group * _width; slot < (group + 1) * _width; slot++)
            {
                if (_slots[slot] != Empty)
                    _heldSlots[_slots[slot]].Add(slot);
            }
        }

        // Each round takes a slot off what is too much or too little; the bound is for the case that two drives undo each other's moves.
        var isStuck = new bool[_drives];
        for (int round = 0; round < 4 * _slots.Length; round++)
        {
            (int worst, double excess) = (Empty, 0);
            for (int drive = 0; drive < _drives; drive++)
            {
                double off = Math.Abs(_held[drive] - _target[drive]) - Math.Max(1, _tolerance * _target[drive]);
                if (off > excess + 1e-9 && !isStuck[drive])
                    (worst, excess) = (drive, off);
            }

            if (worst == Empty)
                return;
            bool isOver = _held[worst] > _target[worst];
            isStuck[worst] = !TryShift(
                isOver ? [worst] : [.. Ranked(drive => _held[drive] - _target[drive])],
                isOver ? [.. Ranked(drive => _target[drive] - _held[drive])] : [worst]);
        }
    }

    /// <summary>The drives for which a measure is above zero, most first.</summary>
    private IEnumerable<int> Ranked(Func<int, double> measure) => Enumerable.Range(0, _drives).Where(drive => measure(drive) > 1e-9).OrderByDescending(measure);

    /// <summary>Takes one slot from one of <paramref name="sources"/> and gives one to one of <paramref name="targets"/>, over as few drives between them as possible.</summary>
    private bool TryShift(int[] sources, int[] targets)
    {
        var via = new (int Slot, int From)[_drives];
        Array.Fill(via, (Empty, Empty));
        var isSeen = new bool[_drives];
        foreach (int drive in sources.Concat(targets))
            isSeen[drive] = true;
        List<int> level = [.. sources];
        for (int length = 1; length <= LongestChain && level.Count > 0; length++)
        {
            foreach (int from in level)
            {
                if (FindReturn(from, targets) is { Slot: not Empty } back)
                    return Shift(back.Slot, from, back.To, via);
            }

            foreach (int from in level)
            {
                foreach (int slot in _heldSlots[from])
                {
                    Load(GroupOf(slot), slot % _width);
                    int to = Array.FindIndex(targets, Fits);
                    Clear(GroupOf(slot));
                    if (to >= 0)
                        return Shift(slot, from, targets[to], via);
                }
            }

            List<int> next = [];
            foreach (int from in level)
            {
                foreach (int slot in _heldSlots[from])
                {
                    Load(GroupOf(slot), slot % _width);
                    for (int to = 0; to < _drives; to++)
                    {
                        if (isSeen[to] || !Fits(to))
                            continue;
                        (isSeen[to], via[to]) = (true, (slot, from));
                        next.Add(to);
                    }

                    Clear(GroupOf(slot));
                }
            }

            level = next;
        }

        return false;
    }

    /// <summary>A slot whose bytes one of the targets still has.</summary>
    private (int Slot, int To) FindReturn(int from, int[] targets)
    {
        foreach (int slot in _heldSlots[from])
        {
            foreach (int to in _sources[slot])
            {
                if (Array.IndexOf(targets, to) >= 0 && MayTake(slot, to))
                    return (slot, to);
            }
        }

        return (Empty, Empty);
    }

    /// <summary>Hands slots on along the chain, from its far end back. Always true.</summary>
    private bool Shift(int slot, int from, int to, (int Slot, int From)[] via)
    {
        // Where two links are of one group the earlier may have become impossible by the later. What has been done stands for itself.
        while (MayTake(slot, to))
        {
            _slots[slot] = to;
            _held[from]--;
            _held[to]++;
            _heldSlots[from].Remove(slot);
            _heldSlots[to].Add(slot);
            if (via[from].Slot == Empty)
                break;
            (slot, to, from) = (via[from].Slot, from, via[from].From);
        }

        return true;
    }

    private bool MayTake(int slot, int drive)
    {
        Load(GroupOf(slot), slot % _width);
        bool fits = Fits(drive);
        Clear(GroupOf(slot));
        return fits;
    }

    private Span<int> GroupOf(int slot) => _slots.AsSpan(slot / _width * _width, _width);

    /// <summary>Makes a group the one at hand, but for one of its slots.</summary>
    private void Load(ReadOnlySpan<int> slots, int except)
    {
        for (int number = 0; number < slots.Length; number++)
        {
            if (number != except && slots[number] != Empty)
                Add(slots[number]);
        }
    }

    private void Clear(ReadOnlySpan<int> slots)
    {
        foreach (int drive in slots)
        {
            if (drive == Empty)
                continue;
            _isUsed[drive] = false;
            foreach (int node in _tree.PathOf(drive))
                _need[node] = _neediestCount[node] = _neediest[node] = 0;
        }
    }

    private void Add(int drive)
    {
        _isUsed[drive] = true;
        (int before, int now) = (0, 1);
        foreach (int node in _tree.PathOf(drive))
        {
            if (now > before)
            {
                _neediestCount[node] = now > _neediest[node] ? 1 : now == _neediest[node] ? _neediestCount[node] + 1 : _neediestCount[node];
                _neediest[node] = Math.Max(_neediest[node], now);
            }

            before = _need[node];
            now = _need[node] = _tree.NeededFor(node, _neediest[node], _neediestCount[node]);
        }
    }

    /// <summary>Whether the group at hand can be filled up under the rule of spread once it has this drive too.</summary>
    private bool Fits(int drive)
    {
        if (_isUsed[drive])
            return false;
        (int before, int now) = (0, 1);
        foreach (int node in _tree.PathOf(drive))
        {
            // A part that has what it needs already changes nothing above it.
            if (now == before)
                return true;
            if (now > _tree.Slots)
                return false;
            int need = now > _neediest[node] ? _tree.NeededFor(node, now, 1)
                : now == _neediest[node] ? _tree.NeededFor(node, now, _neediestCount[node] + 1)
                : _need[node];
            (before, now) = (_need[node], need);
        }

        return now <= _tree.Slots;
    }

    private static ulong HashOf(Guid id, int width)
    {
        Span<byte> bytes = stackalloc byte[16];
        id.TryWriteBytes(bytes, bigEndian: true, out _);
        return ClusterMap.Mix(BinaryPrimitives.ReadUInt64BigEndian(bytes) ^ ClusterMap.Mix(BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]) + (0x9E3779B97F4A7C15 * (ulong)width)));
    }
}

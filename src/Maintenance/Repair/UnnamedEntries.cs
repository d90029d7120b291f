using ObjectStore.Maintenance.Liveness;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Repair;

/// <summary>
/// Which waiting entries of the repair queue are of extents that nothing names, as was found when they were last due: mostly what a process that died was writing. They stay queued until they
/// are named or orphans, which takes days, and are nobody's missing redundancy. An entry is remembered until it is due again; of one that is not, it is not known and it counts as missing
/// redundancy. So does what comes after <see cref="MaxEntries"/>. Entries of which nobody can tell who named them, since all that is left is damaged beyond that, are remembered with them:
/// nothing is left to repair them from. Used by one loop; no disk or drive is touched.
/// </summary>
/// <param name="writeMargin">How long a write may go on: an extent older than this is not named any more.</param>
/// <param name="grace">How long after it is due an entry may wait for its turn.</param>
internal sealed class UnnamedEntries(IExtentLiveness liveness, TimeProvider time, TimeSpan writeMargin, TimeSpan grace)
{
    public const int MaxEntries = 10_000;

    private readonly Dictionary<(ExtentId Extent, int FirstBlock), Known> _known = [];

    /// <summary>The entry was due, its extent was found unnamed, and it was put off.</summary>
    /// <param name="extent">Null where nothing is left that says what it was.</param>
    /// <param name="isOwnerless">Whether nothing in the metadata names it, where nothing is left that says so.</param>
    public void Remember(RepairEntry entry, ExtentDescriptor? extent, long nextDueUnixMs, bool isOwnerless = false)
    {
        if (_known.Count < MaxEntries || _known.ContainsKey(KeyOf(entry)))
            _known[KeyOf(entry)] = new Known(extent, entry.Record.Reason, entry.Record.RecordedUnixMs, nextDueUnixMs, isOwnerless);
    }

    /// <summary>The entry was put off without a look at its extent.</summary>
    public void Keep(RepairEntry entry, long nextDueUnixMs)
    {
        if (_known.TryGetValue(KeyOf(entry), out Known? known))
            _known[KeyOf(entry)] = known with { DueUnixMs = nextDueUnixMs };
    }

    /// <summary>The entry was found to be something else, or is done with.</summary>
    public void Forget(RepairEntry entry) => _known.Remove(KeyOf(entry));

    /// <summary>
    /// Forgets what is named by now, and what should have been looked at again. Only extents whose write may still be under way are asked for, and only of the metadata.
    /// </summary>
    public async ValueTask RefreshAsync(CancellationToken cancellationToken)
    {
        DateTimeOffset now = time.GetUtcNow();
        long overdue = (now - grace).ToUnixTimeMilliseconds(), youngest = (now - writeMargin).ToUnixTimeMilliseconds();
        foreach (((ExtentId, int) key, Known known) in _known)
        {
            if (known.DueUnixMs < overdue)
                _known.Remove(key);
        }

        KeyValuePair<(ExtentId Extent, int), Known>[] young = [.. _known.Where(entry => entry.Value.Extent is not null && entry.Key.Extent.CreatedUnixMs >= youngest)];
        if (young.Length == 0)
            return;
        IReadOnlyList<Liveness.Liveness> judged = await liveness.CheckAsync([.. young.Select(entry => entry.Value.Extent!)], cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < young.Length; i++)
        {
            if (judged[i] != Liveness.Liveness.Unnamed)
                _known.Remove(young[i].Key);
        }
    }

    /// <summary>How many there are among the entries that <see cref="IMaintenanceStore.CountRepairsAsync"/> counts for the same time.</summary>
    public int Count(long writtenByUnixMs) => _known.Values.Count(known => known.Reason != 0 || known.RecordedUnixMs <= writtenByUnixMs);

    public int CountUnidentified() => _known.Values.Count(known => known.Extent is null && !known.IsOwnerless);

    private static (ExtentId, int) KeyOf(RepairEntry entry) => (new ExtentId(new UInt128(entry.Record.ExtentHigh, entry.Record.ExtentLow)), entry.Record.FirstBlock);

    private sealed record Known(ExtentDescriptor? Extent, int Reason, long RecordedUnixMs, long DueUnixMs, bool IsOwnerless);
}

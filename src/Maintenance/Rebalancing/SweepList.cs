using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Maintenance.Rebalancing;

/// <summary>
/// The drives that are to be emptied of groups they no longer hold, durably: a cursor for each. Run by one loop; <see cref="Count"/> from anywhere.
/// </summary>
internal sealed partial class SweepList(
    IMaintenanceStore metadata, IFragmentStoreDirectory drives, Func<IClusterMap> map, StrayKeeper strays, PauseSwitch pause, LoadGovernor governor, TimeProvider time,
    RepairOptions options, ILogger logger)
{
    private const string CursorPrefix = "sweep/";
    private const int Parallelism = 8;

    private readonly ConcurrentDictionary<Guid, Sweep> _sweeps = [];
    private readonly ConcurrentDictionary<Guid, FragmentKey> _yielded = []; // up to where the drive was swept

    public int Count => _sweeps.Count;

    /// <summary>Drives that are to be swept of a group.</summary>
    public IEnumerable<Guid> DrivesOf(int group) => _sweeps.Where(sweep => sweep.Value.Groups.Contains(group)).Select(sweep => sweep.Key);

    public async Task LoadAsync(CancellationToken cancellationToken)
    {
        foreach (MaintenanceCursor cursor in await metadata.ListCursorsAsync(CursorPrefix, cancellationToken).ConfigureAwait(false))
        {
            if (Guid.TryParseExact(cursor.Name.AsSpan(CursorPrefix.Length), "N", out Guid drive) && Sweep.Decode(cursor.Value) is { } sweep)
                _sweeps[drive] = sweep;
        }
    }

    /// <summary>Adds groups to be swept off drives, durably.</summary>
    public async Task AddAsync(Dictionary<Guid, HashSet<int>> groups, DateTimeOffset notBefore, CancellationToken cancellationToken)
    {
        foreach ((Guid drive, HashSet<int> added) in groups)
        {
            Sweep sweep = new(notBefore, _sweeps.TryGetValue(drive, out Sweep? before) ? [.. before.Groups.Union(added)] : added);
            await metadata.SetCursorAsync(NameOf(drive), sweep.Encode(), cancellationToken).ConfigureAwait(false);
            _sweeps[drive] = sweep;
        }
    }

    /// <summary>Runs the sweeps that are due. Whether there was one. A sweep that yields goes on later where it was, and then once more from the start if something had to stay.</summary>
    /// <param name="shouldYield">Asked for each page: whether something more urgent waits.</param>
    public async Task<bool> RunDueAsync(Func<bool> shouldYield, CancellationToken cancellationToken)
    {
        bool any = false;
        foreach ((Guid id, Sweep sweep) in _sweeps.ToArray())
        {
            if (sweep.NotBefore > time.GetUtcNow())
                continue;
            if (shouldYield())
                return any;
            any = true;
            bool isEmpty = false;
            if (drives.Find(id) is { } drive)
            {
                try
                {
                    isEmpty = await RunAsync(drive, sweep.Groups, shouldYield, cancellationToken).ConfigureAwait(false);
                }
                catch (Exception e) when (!cancellationToken.IsCancellationRequested)
                {
                    LogFailure(id, e);
                }
            }
            else
            {
                // A drive that the map does not know any more has been taken away, or its fragments are the scrub's business when it comes back.
                isEmpty = map().Drives.All(mapped => mapped.Id != id);
            }

            if (isEmpty)
            {
                await metadata.SetCursorAsync(NameOf(id), null, cancellationToken).ConfigureAwait(false);
                _sweeps.TryRemove(id, out _);
            }
            else
            {
                _sweeps[id] = sweep with { NotBefore = time.GetUtcNow() + options.RetryDelay };
            }
        }

        return any;
    }

    /// <summary>Deletes what does not belong on the drive any more. False where something had to stay.</summary>
    private async Task<bool> RunAsync(IFragmentStore drive, IReadOnlySet<int> groups, Func<bool> shouldYield, CancellationToken cancellationToken)
    {
        using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.sweep")?.SetTag("objectstore.drive", drive.DriveId.ToString());
        _yielded.TryRemove(drive.DriveId, out FragmentKey resumed);
        FragmentKey? after = resumed == default ? null : resumed;
        long deleted = 0, kept = after is null ? 0 : 1;
        do
        {
            await pause.WaitAsync(cancellationToken).ConfigureAwait(false);
            using IDisposable busy = governor.BusyByShare();
            FragmentPage page = await drive.ListAsync(groups, after, options.ListPageEntries, cancellationToken).ConfigureAwait(false);
            var delete = new ConcurrentBag<FragmentEntry>();
            await Parallel.ForEachAsync(page.Entries, new ParallelOptions { CancellationToken = cancellationToken, MaxDegreeOfParallelism = governor.Workers(Parallelism) }, async (entry, stopping) =>
            {
                switch (await strays.JudgeAsync(drive, entry, TimeSpan.Zero, stopping).ConfigureAwait(false))
                {
                    case StrayVerdict.Delete:
                        delete.Add(entry);
                        break;
                    case StrayVerdict.Keep:
                        Interlocked.Increment(ref kept);
                        break;
                }
            }).ConfigureAwait(false);
            if (!delete.IsEmpty)
            {
                await strays.DeleteAsync(drive, [.. delete], cancellationToken).ConfigureAwait(false);
                deleted += delete.Count;
            }

            after = page.Next;
            if (after is { } next && shouldYield())
            {
                _yielded[drive.DriveId] = next;
                return false;
            }
        }
        while (after is not null);

        // A map that has not yet heard of the completion still names the drive as a source.
        bool isSource = groups.Any(group => MapLookup.TrySlotsOf(map(), group, out IReadOnlyList<GroupSlot> slots) && slots.Any(slot => slot.Sources.Contains(drive.DriveId)));
        LogSwept(drive.DriveId, groups.Count, deleted, kept);
        return kept == 0 && !isSource;
    }

    private static string NameOf(Guid drive) => CursorPrefix + drive.ToString("N");

    [LoggerMessage(21, LogLevel.Information, "Drive {Drive} was swept of {Groups} placement groups that it no longer holds: {Deleted} fragments deleted, {Kept} kept for now")]
    private partial void LogSwept(Guid drive, int groups, long deleted, long kept);

    [LoggerMessage(22, LogLevel.Warning, "Drive {Drive} could not be swept; it is tried again")]
    private partial void LogFailure(Guid drive, Exception exception);

    /// <summary>As it is kept as a cursor.</summary>
    internal sealed record Sweep(DateTimeOffset NotBefore, IReadOnlySet<int> Groups)
    {
        // version 1 | not before 8 | groups 4 each; little-endian
        public byte[] Encode()
        {
            var value = new byte[9 + 4 * Groups.Count];
            value[0] = 1;
            BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(1), NotBefore.ToUnixTimeMilliseconds());
            int at = 9;
            foreach (int group in Groups)
            {
                BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(at), group);
                at += 4;
            }

            return value;
        }

        public static Sweep? Decode(byte[] value)
        {
            if (value.Length < 9 || value[0] != 1 || (value.Length - 9) % 4 != 0)
                return null;
            HashSet<int> groups = [];
            for (int at = 9; at < value.Length; at += 4)
                groups.Add(BinaryPrimitives.ReadInt32LittleEndian(value.AsSpan(at)));
            return new Sweep(DateTimeOffset.FromUnixTimeMilliseconds(BinaryPrimitives.ReadInt64LittleEndian(value.AsSpan(1))), groups);
        }
    }
}

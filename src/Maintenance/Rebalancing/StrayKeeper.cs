// A stray is a fragment on a drive that the map does not name for it: a former drive of the slot, one that was away while its slots were given to others, or the target of a writer
// that had an older map. It is deleted only once the drive that should have the fragment has it: read back whole, not merely listed, since the stray may be the last intact copy. Where
// that drive lacks it the stray is copied there first.

using System.Buffers;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Rebalancing;

internal enum StrayVerdict
{
    /// <summary>The map names the drive for it.</summary>
    Belongs,

    /// <summary>It may be deleted.</summary>
    Delete,

    /// <summary>It does not belong here and has to stay for now.</summary>
    Keep,
}

/// <summary>Decides about strays, and brings home what is missing there. Thread-safe.</summary>
internal sealed partial class StrayKeeper(IFragmentStoreDirectory drives, Func<IClusterMap> map, IExtentLiveness liveness, IRepairSink sink, TimeProvider time, ILogger logger)
{
    /// <summary>Whether the map names the drive for the fragment, or does not know the fragment's group.</summary>
    private bool Belongs(Guid drive, in FragmentEntry entry)
        => !MapLookup.TrySlotsOf(map(), entry.PlacementGroup, out IReadOnlyList<GroupSlot> slots) || entry.Key.Shard >= slots.Count
            || slots[entry.Key.Shard].Drive == drive || slots[entry.Key.Shard].Sources.Contains(drive);

    /// <summary>
    /// Deletes strays that were judged so. Where the map has changed since, so that it names the drive for one after all, whoever filled the slot may have seen it there: that is recorded for
    /// repair, durably.
    /// </summary>
    public async ValueTask DeleteAsync(IFragmentStore drive, IReadOnlyList<FragmentEntry> entries, CancellationToken cancellationToken)
    {
        FragmentKey[] keys = [.. entries.Select(entry => entry.Key).Order()];
        try
        {
            await drive.DeleteAsync(keys, cancellationToken).ConfigureAwait(false);
            MaintenanceDiagnostics.StraysDeleted.Add(keys.Length);
        }
        finally
        {
            // Also of a delete that failed: it may have been carried out all the same.
            RepairNotice[] back = [.. entries.Where(entry => Belongs(drive.DriveId, entry)).Select(NoticeOf).OfType<RepairNotice>()];
            if (back.Length > 0)
                await sink.RecordAsync(back, CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Records, durably, that a fragment is not there intact: the scrub does not come by again for a period.</summary>
    public async ValueTask TellAsync(FragmentEntry entry, CancellationToken cancellationToken)
    {
        if (NoticeOf(entry) is { } notice)
            await sink.RecordAsync(notice, cancellationToken).ConfigureAwait(false);
    }

    private static RepairNotice? NoticeOf(FragmentEntry entry) => Scheme.TryFromId(entry.SchemeId, out Scheme scheme)
        ? new RepairNotice(entry.Key.Extent, entry.PlacementGroup, scheme, entry.Key.Block, 1, default(ShardSet).With(entry.Key.Shard), RepairReason.Scrub)
        : null;

    /// <summary>
    /// Deletes a fragment from those of some drives that have it and should not. It was found damaged on one of them, or on the drive that should have it, which has it whole by now: what is left
    /// of it elsewhere would count as whole if its slot came back there. Drives that do not answer are passed over.
    /// </summary>
    /// <param name="patience">How long to wait for an answer.</param>
    /// <returns>False where one has to keep it for now, or should have it since.</returns>
    public async Task<bool> DeleteElsewhereAsync(FragmentEntry entry, IEnumerable<Guid> candidates, TimeSpan patience, CancellationToken cancellationToken)
    {
        bool[] gone = await Task.WhenAll(candidates.Select(drives.Find).OfType<IFragmentStore>().Select(async drive =>
        {
            try
            {
                if (!await HasAsync(drive, entry.Key, patience, cancellationToken).ConfigureAwait(false))
                    return true;
                if (await JudgeAsync(drive, entry, TimeSpan.Zero, cancellationToken).ConfigureAwait(false) != StrayVerdict.Delete)
                    return false;
                await DeleteAsync(drive, [entry], cancellationToken).ConfigureAwait(false);
                return true;
            }
            catch (StorageException e)
            {
                LogKept(entry.Key, drive.DriveId, e);
                return false;
            }
        })).ConfigureAwait(false);
        return !gone.Contains(false);
    }

    /// <summary>Whether a drive says that it has a fragment, in whatever state.</summary>
    private async Task<bool> HasAsync(IFragmentStore drive, FragmentKey key, TimeSpan patience, CancellationToken cancellationToken)
    {
        try
        {
            return await drive.StatAsync(key, cancellationToken).AsTask().WaitAsync(patience, time, cancellationToken).ConfigureAwait(false) is not null;
        }
        catch (FragmentCorruptException)
        {
            return true;
        }
        catch (Exception e) when (e is StorageException or TimeoutException or ObjectDisposedException)
        {
            return false;
        }
    }

    /// <summary>Looks at one fragment of a drive. The caller deletes it where it may be, with <see cref="DeleteAsync"/>.</summary>
    /// <param name="minimumAge">Extents younger than this are kept: their writer may still use the map it began with.</param>
    public async ValueTask<StrayVerdict> JudgeAsync(IFragmentStore drive, FragmentEntry entry, TimeSpan minimumAge, CancellationToken cancellationToken)
    {
        if (!MapLookup.TrySlotsOf(map(), entry.PlacementGroup, out IReadOnlyList<GroupSlot> slots) || entry.Key.Shard >= slots.Count || !Scheme.TryFromId(entry.SchemeId, out Scheme scheme))
            return StrayVerdict.Belongs;
        GroupSlot slot = slots[entry.Key.Shard];
        if (slot.Drive == drive.DriveId || slot.Sources.Contains(drive.DriveId))
            return StrayVerdict.Belongs;
        if (!slot.IsComplete || slot.Drive is not { } homeId || drives.Find(homeId) is not { } home)
            return StrayVerdict.Keep;
        if (time.GetUtcNow().ToUnixTimeMilliseconds() - entry.Key.Extent.CreatedUnixMs < minimumAge.TotalMilliseconds)
            return StrayVerdict.Keep;
        var address = new FragmentAddress(entry.Key, entry.PlacementGroup, scheme, entry.PayloadBytes);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(1, entry.PayloadBytes));
        try
        {
            Memory<byte> payload = buffer.AsMemory(0, entry.PayloadBytes);
            try
            {
                await home.ReadAsync(address, 0, payload, cancellationToken).ConfigureAwait(false);
                return StrayVerdict.Delete;
            }
            catch (Exception e) when (e is FragmentMissingException or FragmentCorruptException)
            {
                return await BringHomeAsync(drive, home, address, payload, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (StorageException e)
        {
            LogKept(entry.Key, drive.DriveId, e);
            return StrayVerdict.Keep;
        }
        finally
        {
            // No read is under way: every one was awaited to its end.
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async ValueTask<StrayVerdict> BringHomeAsync(IFragmentStore drive, IFragmentStore home, FragmentAddress address, Memory<byte> payload, CancellationToken cancellationToken)
    {
        if (await drive.StatAsync(address.Key, cancellationToken).ConfigureAwait(false) is not { } details)
            return StrayVerdict.Keep;
        Liveness.Liveness live = (await liveness.CheckAsync([details.Descriptor], cancellationToken).ConfigureAwait(false))[0];
        if (live == Liveness.Liveness.Garbage || (live == Liveness.Liveness.Orphan && (await liveness.CondemnAsync([details], cancellationToken).ConfigureAwait(false))[0]))
            return StrayVerdict.Delete;

        // Verified as it is read; its checksums are made anew from what was.
        await drive.ReadAsync(address, 0, payload, cancellationToken).ConfigureAwait(false);
        var copy = new FragmentWrite(
            details.Descriptor, details.Scheme, details.BlockSizeBytes, details.Key.Block, details.BlockLengthBytes, details.Key.Shard, payload, FragmentChecksums.Of(payload.Span));
        await home.WriteAsync(copy, sync: true, cancellationToken).ConfigureAwait(false);
        MaintenanceDiagnostics.StraysMovedHome.Add(1);
        return StrayVerdict.Delete;
    }

    [LoggerMessage(20, LogLevel.Debug, "Fragment {Fragment} does not belong on drive {Drive} and stays there for now")]
    private partial void LogKept(FragmentKey fragment, Guid drive, Exception exception);
}

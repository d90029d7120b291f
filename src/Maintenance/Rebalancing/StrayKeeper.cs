// A stray is a fragment on a drive that the map does not name for it: a former drive of the slot, one that was away while its slots were given to others, or the target of a writer
// that had an older map. It is deleted only once the drive that should have the fragment has it: read back whole, not merely listed, since the stray may be the last intact copy. Where
// that drive lacks it the stray is copied there first.

using System.Buffers;
using System.Collections.Concurrent;
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
    private static readonly TimeSpan SilenceMemory = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<Guid, long> _silent = []; // drives that took too long to answer, and when

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
    /// Deletes what is damaged of a fragment on drives other than the one that should have it, which has it whole by now: it would count as whole if its slot came back there. Also on one that the
    /// slot is being filled from; nothing is filled from damage. An intact one may stay.
    /// </summary>
    /// <param name="candidates">The drives, and whether one that does not answer is passed over.</param>
    /// <param name="patience">How long to wait for an answer. A drive that takes longer is not asked again for a while.</param>
    /// <returns>False where damage may be left, or has come to be where the fragment should be.</returns>
    public async Task<bool> DeleteDamagedAsync(FragmentEntry entry, Scheme scheme, IReadOnlyDictionary<Guid, bool> candidates, TimeSpan patience, CancellationToken cancellationToken)
    {
        var address = new FragmentAddress(entry.Key, entry.PlacementGroup, scheme, entry.PayloadBytes);
        bool[] clean = await Task.WhenAll(candidates.Select(async candidate => drives.Find(candidate.Key) is { } drive
            ? await HasDamageAsync(drive, address, patience, cancellationToken).ConfigureAwait(false) switch
            {
                false => true,
                true => await DeleteDamagedAsync(drive, entry, address, cancellationToken).ConfigureAwait(false),
                null => candidate.Value,
            }
            : candidate.Value)).ConfigureAwait(false);
        return !clean.Contains(false);
    }

    private async Task<bool> DeleteDamagedAsync(IFragmentStore drive, FragmentEntry entry, FragmentAddress address, CancellationToken cancellationToken)
    {
        try
        {
            if (HomeOf(entry) is not { } homeId || homeId == drive.DriveId || drives.Find(homeId) is not { } home)
                return false;
            await VerifyAsync(home, address, cancellationToken).ConfigureAwait(false);
            try
            {
                await drive.DeleteAsync(new[] { entry.Key }, cancellationToken).ConfigureAwait(false);
                MaintenanceDiagnostics.StraysDeleted.Add(1);
            }
            finally
            {
                if (HomeOf(entry) == drive.DriveId)
                    await TellAsync(entry, CancellationToken.None).ConfigureAwait(false);
            }

            return true;
        }
        catch (StorageException e)
        {
            LogKept(entry.Key, drive.DriveId, e);
            return false;
        }
    }

    private Guid? HomeOf(FragmentEntry entry)
        => MapLookup.TrySlotsOf(map(), entry.PlacementGroup, out IReadOnlyList<GroupSlot> slots) && entry.Key.Shard < slots.Count ? slots[entry.Key.Shard].Drive : null;

    /// <summary>Whether a drive has a fragment and it is damaged; null where it does not say.</summary>
    private async Task<bool?> HasDamageAsync(IFragmentStore drive, FragmentAddress address, TimeSpan patience, CancellationToken cancellationToken)
    {
        if (_silent.TryGetValue(drive.DriveId, out long since) && time.GetElapsedTime(since) < SilenceMemory)
            return null;
        using CancellationTokenSource limit = new(patience, time);
        using CancellationTokenSource both = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            if (await drive.StatAsync(address.Key, both.Token).AsTask().WaitAsync(both.Token).ConfigureAwait(false) is null)
                return false;
            await VerifyAsync(drive, address, cancellationToken).ConfigureAwait(false);
            return false;
        }
        catch (FragmentMissingException)
        {
            return false;
        }
        catch (FragmentCorruptException)
        {
            return true;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            _silent[drive.DriveId] = time.GetTimestamp();
            return null;
        }
        catch (Exception e) when (e is StorageException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>Reads a fragment whole, which verifies it.</summary>
    private static async Task VerifyAsync(IFragmentStore drive, FragmentAddress address, CancellationToken cancellationToken)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(1, address.PayloadBytes));
        try
        {
            await drive.ReadAsync(address, 0, buffer.AsMemory(0, address.PayloadBytes), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            // The read was awaited to its end.
            ArrayPool<byte>.Shared.Return(buffer);
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

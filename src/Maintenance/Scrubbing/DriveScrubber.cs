// Reads every fragment of one drive once in a period, in key order, and what its sealed volumes hold beside them.
//
// On the way it does what else needs every fragment to be looked at: it deletes what nothing names (orphans) and what belongs elsewhere and is there (strays).
//
// A fragment that is listed and cannot be found was deleted in between, or its volume is gone: the listing is asked again. What the index does not list cannot be missed here; that is what
// the comparison of all drives' listings is for (RepairService).

using System.Buffers;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Rebalancing;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Scrubbing;

/// <summary>Run by one loop; <see cref="Status"/> from anywhere.</summary>
internal sealed partial class DriveScrubber(
    IFragmentStore drive, IMaintenanceStore metadata, IExtentLiveness liveness, StrayKeeper strays, FoundDamage damage, LoadGovernor governor, PauseSwitch pause, TimeProvider time,
    ScrubOptions options, ILogger logger)
{
    // A pass that used the whole period would be late with the first hiccup.
    private const double Haste = 0.9;

    // A timer takes no more than 49 days.
    private static readonly TimeSpan LongestDelay = TimeSpan.FromDays(1);

    private readonly ByteRate _rate = new(time);
    private ScrubCursor _cursor = new(0, 0, IsDone: false, InVolumes: false, null, 0, 0, 0, 0);
    private long _persistedAt;
    private long _expectedBytes = -1;
    private bool _isRunning;
    private volatile bool _isHurried;
    private volatile CancellationTokenSource _interruption = new();

    public ScrubStatus Status
    {
        get
        {
            ScrubCursor cursor = Volatile.Read(ref _cursor);
            return new ScrubStatus(
                drive.DriveId, DateTimeOffset.FromUnixTimeMilliseconds(cursor.StartedUnixMs), cursor.Fragments, cursor.Bytes, cursor.Findings, Volatile.Read(ref _isRunning),
                cursor.FinishedUnixMs == 0 ? null : DateTimeOffset.FromUnixTimeMilliseconds(cursor.FinishedUnixMs))
            {
                ExpectedBytes = Interlocked.Read(ref _expectedBytes) is >= 0 and var expected ? expected : null,
            };
        }
    }

    private string CursorName => "scrub/" + drive.DriveId.ToString("N");

    /// <summary>Whether a pass that was asked for waits or runs.</summary>
    public bool IsHurried => _isHurried;

    /// <summary>Begins a new pass without a limit to its rate. One that was asked for before goes on.</summary>
    public void Hurry()
    {
        if (_isHurried)
            return;
        _isHurried = true;
        _interruption.Cancel();
    }

    /// <summary>Pass after pass, until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        bool loaded = false;
        while (true)
        {
            // An interruption ends the pass or the wait that runs; what follows is the pass that was asked for. It is there before the wish is looked at, so that none is missed, and it is
            // not disposed of, as whoever asks may still hold it; it has no timer.
            CancellationTokenSource interruption = new();
            _interruption = interruption;
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(stopping, interruption.Token);
            bool hurried = _isHurried;
            CancellationToken stoppingToken = hurried ? stopping : either.Token;
            try
            {
                if (!loaded)
                {
                    await LoadAsync(stopping).ConfigureAwait(false);
                    loaded = true;
                }

                if (hurried)
                {
                    Advance(new ScrubCursor(time.GetUtcNow().ToUnixTimeMilliseconds(), _cursor.FinishedUnixMs, false, false, null, 0, 0, 0, 0));
                }
                else if (_cursor.IsDone)
                {
                    // Longer than a period only by a clock that was ahead when the last pass began.
                    DateTimeOffset due = DateTimeOffset.FromUnixTimeMilliseconds(_cursor.StartedUnixMs) + options.Period;
                    while (due - time.GetUtcNow() is var wait && wait > TimeSpan.Zero && wait <= options.Period)
                        await Task.Delay(wait < LongestDelay ? wait : LongestDelay, time, stoppingToken).ConfigureAwait(false);
                    Advance(new ScrubCursor(time.GetUtcNow().ToUnixTimeMilliseconds(), _cursor.FinishedUnixMs, false, false, null, 0, 0, 0, 0));
                }

                await RunPassAsync(stoppingToken).ConfigureAwait(false);
                if (hurried)
                    _isHurried = false;
            }
            catch (OperationCanceledException) when (!stopping.IsCancellationRequested && interruption.IsCancellationRequested)
            {
                // The pass that was asked for is next.
            }
            catch (Exception e) when (!stopping.IsCancellationRequested)
            {
                MaintenanceDiagnostics.LoopFailures.Add(1, new KeyValuePair<string, object?>("loop", "scrub"));
                LogFailure(drive.DriveId, e);
                await Task.Delay(options.PollInterval, time, stopping).ConfigureAwait(false);
            }
        }
    }

    /// <summary>From where the cursor stands to the end of the pass. However it ends, the cursor is written.</summary>
    public async Task RunPassAsync(CancellationToken cancellationToken)
    {
        using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.scrub")?.SetTag("objectstore.drive", drive.DriveId.ToString());
        Volatile.Write(ref _isRunning, true);
        try
        {
            DriveStatistics statistics = await drive.GetStatisticsAsync(cancellationToken).ConfigureAwait(false);
            Interlocked.Exchange(ref _expectedBytes, statistics.LiveBytes);
            long volumes = (await ListVolumesAsync(cancellationToken).ConfigureAwait(false)).Sum(volume => volume.LengthBytes);
            _rate.BytesPerSecond = _isHurried ? null : Math.Max(options.FloorBytesPerSecond, (statistics.LiveBytes + volumes) / (options.Period * Haste).TotalSeconds);
            while (!_cursor.InVolumes)
                await ScrubPageAsync(cancellationToken).ConfigureAwait(false);
            await VerifyVolumesAsync(cancellationToken).ConfigureAwait(false);
            Advance(_cursor with { IsDone = true, FinishedUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds() });
            MaintenanceDiagnostics.ScrubPasses.Add(1);
            if (_cursor.Fragments > 0)
                LogPass(drive.DriveId, _cursor.Fragments, _cursor.Bytes, _cursor.Findings);
        }
        finally
        {
            Volatile.Write(ref _isRunning, false);

            // Also when it is stopped.
            await PersistAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    /// <summary>Reads the cursor; without one a pass begins now.</summary>
    public async Task LoadAsync(CancellationToken cancellationToken)
    {
        foreach (MaintenanceCursor stored in await metadata.ListCursorsAsync(CursorName, cancellationToken).ConfigureAwait(false))
        {
            if (stored.Name == CursorName && ScrubCursor.Decode(stored.Value) is { } cursor)
                Advance(cursor);
        }

        if (_cursor.StartedUnixMs == 0)
            Advance(_cursor with { StartedUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds() });
        _persistedAt = time.GetTimestamp();
    }

    private async Task ScrubPageAsync(CancellationToken cancellationToken)
    {
        await pause.WaitAsync(cancellationToken).ConfigureAwait(false);
        FragmentPage page = await drive.ListAsync(null, _cursor.After, options.PageEntries, cancellationToken).ConfigureAwait(false);
        HashSet<ExtentId> dead = await FindDeadAsync(page.Entries, cancellationToken).ConfigureAwait(false);
        FragmentKey[] orphans = [.. page.Entries.Select(entry => entry.Key).Where(key => dead.Contains(key.Extent))];
        if (orphans.Length > 0)
        {
            await drive.DeleteAsync(orphans, cancellationToken).ConfigureAwait(false);
            MaintenanceDiagnostics.OrphansDeleted.Add(orphans.Length);
        }

        FragmentKey? previous = _cursor.After;
        foreach (FragmentEntry entry in page.Entries)
        {
            if (!dead.Contains(entry.Key.Extent))
            {
                bool damaged = await VerifyAsync(entry, previous, cancellationToken).ConfigureAwait(false);
                StrayVerdict verdict = await JudgeAsync(entry, damaged ? TimeSpan.Zero : options.StrayGrace, cancellationToken).ConfigureAwait(false);

                // Damage is told of strays too: their slots may come back to this drive, and what is listed there counts as being there.
                if (verdict == StrayVerdict.Delete)
                    await strays.DeleteAsync(drive, [entry], cancellationToken).ConfigureAwait(false);
                else if (damaged)
                    await strays.TellAsync(entry, cancellationToken).ConfigureAwait(false);
            }

            previous = entry.Key;
            Advance(_cursor with { After = entry.Key, Fragments = _cursor.Fragments + 1 });
        }

        if (page.Next is null)
            Advance(_cursor with { InVolumes = true });
        if (time.GetElapsedTime(_persistedAt) >= options.CursorInterval)
            await PersistAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Of a stray it reads the fragment that should be in its place.</summary>
    private async ValueTask<StrayVerdict> JudgeAsync(FragmentEntry entry, TimeSpan minimumAge, CancellationToken cancellationToken)
    {
        using IDisposable busy = governor.Busy();
        return await strays.JudgeAsync(drive, entry, minimumAge, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether it is damaged.</summary>
    private async Task<bool> VerifyAsync(FragmentEntry entry, FragmentKey? previous, CancellationToken cancellationToken)
    {
        FragmentKey key = entry.Key;
        if (!Scheme.TryFromId(entry.SchemeId, out Scheme scheme))
        {
            LogUnknownScheme(key, drive.DriveId, entry.SchemeId);
            Find("scheme");
            return false;
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(1, entry.PayloadBytes));
        long began = time.GetTimestamp();
        bool damaged = false;
        try
        {
            using IDisposable busy = governor.Busy();
            await drive.ReadAsync(new FragmentAddress(key, entry.PlacementGroup, scheme, entry.PayloadBytes), 0, buffer.AsMemory(0, entry.PayloadBytes), cancellationToken).ConfigureAwait(false);
        }
        catch (FragmentMissingException)
        {
            if (!await IsListedAsync(key, previous, cancellationToken).ConfigureAwait(false))
                return false;
            Find("missing");
            damaged = true;
        }
        catch (FragmentCorruptException e)
        {
            if (!await IsListedAsync(key, previous, cancellationToken).ConfigureAwait(false))
                return false;
            LogCorrupt(key, drive.DriveId, e);
            Find("corrupt");
            damaged = true;
        }
        finally
        {
            // The read was awaited to its end.
            ArrayPool<byte>.Shared.Return(buffer);
        }

        TimeSpan took = time.GetElapsedTime(began);
        MaintenanceDiagnostics.ScrubbedFragments.Add(1);
        MaintenanceDiagnostics.ScrubbedBytes.Add(entry.PayloadBytes);
        Advance(_cursor with { Bytes = _cursor.Bytes + entry.PayloadBytes });
        await _rate.PayAsync(entry.PayloadBytes, cancellationToken).ConfigureAwait(false);

        // Late is better than in the clients' way, but in proportion: a drive of many small fragments is scrubbed within its period too.
        if (governor.IsHeldBack)
            await Task.Delay(governor.RestAfter(took, 1), time, cancellationToken).ConfigureAwait(false);
        return damaged;
    }

    private async ValueTask<bool> IsListedAsync(FragmentKey key, FragmentKey? previous, CancellationToken cancellationToken)
    {
        FragmentPage page = await drive.ListAsync(null, previous, 1, cancellationToken).ConfigureAwait(false);
        while (page.Entries is [var entry, ..] && entry.Key.CompareTo(key) < 0)
            page = await drive.ListAsync(null, entry.Key, 1, cancellationToken).ConfigureAwait(false);
        return page.Entries is [var found, ..] && found.Key == key;
    }

    /// <summary>Which extents of a page are orphans: they are garbage now, and no commit will name them.</summary>
    private async ValueTask<HashSet<ExtentId>> FindDeadAsync(IReadOnlyList<FragmentEntry> entries, CancellationToken cancellationToken)
    {
        long oldEnough = (time.GetUtcNow() - options.OrphanGrace).ToUnixTimeMilliseconds();
        List<FragmentDetails> old = [];
        for (int i = 0; i < entries.Count; i++)
        {
            // Entries are in key order: the last of an extent's has its highest block here.
            FragmentKey key = entries[i].Key;
            if (key.Extent.CreatedUnixMs >= oldEnough || (i + 1 < entries.Count && entries[i + 1].Key.Extent == key.Extent))
                continue;
            try
            {
                if (await drive.StatAsync(key, cancellationToken).ConfigureAwait(false) is { } details)
                    old.Add(details);
            }
            catch (FragmentCorruptException)
            {
                // Reading it, next, tells of it; what it belongs to is known from its other fragments.
            }
        }

        if (old.Count == 0)
            return [];
        IReadOnlyList<Liveness.Liveness> judged = await liveness.CheckAsync([.. old.Select(details => details.Descriptor)], cancellationToken).ConfigureAwait(false);

        // An extent is judged on each of its drives, and for each page; it is counted where its first fragment is.
        HashSet<ExtentId> asked = [.. old.Select(details => details.Key.Extent)];
        liveness.CountJudged(entries.Count(entry => entry.Key is { Block: 0, Shard: 0 } && asked.Contains(entry.Key.Extent)));
        FragmentDetails[] orphans = [.. old.Where((_, i) => judged[i] == Liveness.Liveness.Orphan)];
        if (orphans.Length == 0)
            return [];
        IReadOnlyList<bool> condemned = await liveness.CondemnAsync(orphans, cancellationToken).ConfigureAwait(false);
        return [.. orphans.Where((_, i) => condemned[i]).Select(orphan => orphan.Key.Extent)];
    }

    private async ValueTask<IReadOnlyList<SealedVolume>> ListVolumesAsync(CancellationToken cancellationToken)
        => drive is IVolumeVerifier verifier ? await verifier.ListSealedVolumesAsync(cancellationToken).ConfigureAwait(false) : [];

    private async Task VerifyVolumesAsync(CancellationToken cancellationToken)
    {
        foreach (SealedVolume volume in await ListVolumesAsync(cancellationToken).ConfigureAwait(false))
        {
            if (volume.VolumeId <= _cursor.AfterVolume)
                continue;
            await pause.WaitAsync(cancellationToken).ConfigureAwait(false);
            if (await VerifyVolumeAsync(volume.VolumeId, cancellationToken).ConfigureAwait(false) is { ChecksumMatches: { } matches } verification)
            {
                MaintenanceDiagnostics.ScrubbedBytes.Add(verification.BytesRead);
                if (!matches || verification.Damaged.Count > 0)
                {
                    LogVolume(volume.VolumeId, drive.DriveId, matches ? "its bytes are those that were sealed" : "it is not what was sealed", verification.Damaged.Count);
                    Find("volume");

                    // Some of it was read a moment ago as fragments, from memory maybe.
                    await damage.TellAsync(verification.Damaged, cancellationToken).ConfigureAwait(false);
                }
            }

            Advance(_cursor with { AfterVolume = volume.VolumeId });
            if (time.GetElapsedTime(_persistedAt) >= options.CursorInterval)
                await PersistAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, CancellationToken cancellationToken)
    {
        long rate = _rate.BytesPerSecond is { } limit ? Math.Max(1, (long)limit) : 0;

        // At its rate it takes hours, most of which it waits, and is in nobody's way.
        using IDisposable? busy = rate == 0 ? governor.Busy() : null;
        return await ((IVolumeVerifier)drive).VerifyVolumeAsync(volumeId, rate, cancellationToken).ConfigureAwait(false);
    }

    private void Find(string kind)
    {
        MaintenanceDiagnostics.ScrubFindings.Add(1, new KeyValuePair<string, object?>("kind", kind));
        Advance(_cursor with { Findings = _cursor.Findings + 1 });
    }

    private void Advance(ScrubCursor cursor) => Volatile.Write(ref _cursor, cursor);

    private async ValueTask PersistAsync(CancellationToken cancellationToken)
    {
        _persistedAt = time.GetTimestamp();
        await metadata.SetCursorAsync(CursorName, _cursor.Encode(), cancellationToken).ConfigureAwait(false);
    }

    [LoggerMessage(30, LogLevel.Warning, "The scrub of drive {Drive} met an error; it goes on where it stood")]
    private partial void LogFailure(Guid drive, Exception exception);

    [LoggerMessage(31, LogLevel.Information, "The scrub has been over drive {Drive}: {Fragments} fragments, {Bytes} bytes, {Findings} findings")]
    private partial void LogPass(Guid drive, long fragments, long bytes, long findings);

    [LoggerMessage(32, LogLevel.Error, "Fragment {Fragment} on drive {Drive} is damaged; it is repaired")]
    private partial void LogCorrupt(FragmentKey fragment, Guid drive, Exception exception);

    [LoggerMessage(33, LogLevel.Error, "Fragment {Fragment} on drive {Drive} names scheme {Scheme}, which there cannot be")]
    private partial void LogUnknownScheme(FragmentKey fragment, Guid drive, int scheme);

    [LoggerMessage(34, LogLevel.Error, "Sealed volume {Volume} of drive {Drive} is damaged: {Finding}, and {Fragments} live fragments are damaged; they are repaired")]
    private partial void LogVolume(long volume, Guid drive, string finding, int fragments);
}

using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Recovery;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Compaction;

/// <summary>
/// Gives the room of garbage back: copies what lives in a volume to the end of the log, and deletes the volume.
///
/// What holds at each step, whatever crashes between them:
/// 1. Copies go through a normal writer. A copy's record names the place it was copied from, and counts only where the index still named that place when the copy had been synced. If a
///    fragment is deleted in between, its tombstone names the old place, which takes the copy away too when an index is rebuilt.
/// 2. Such a dead copy gets a tombstone of its own, and no volume is reclaimed before that is synced: the old place may not disappear earlier.
/// 3. Tombstones of the volume that still keep down fragments of other volumes are written again elsewhere and synced.
/// 4. Only then, with no live fragment in it, the volume is deleted by the steps that delete any empty volume (<see cref="DriveIndex.ReclaimVolumes"/>).
/// Until then the old copies are remembered as superseded, so that a delete names both.
///
/// Everything is verified on its way; the checksums of the chunks are those made when the bytes came in. A damaged fragment is not copied: it is reported and stays, with its volume,
/// until repair has written it anew. A volume with damaged tombstones stays while the volumes that they are for do.
/// </summary>
internal sealed class VolumeCompactor(DriveEngine engine)
{
    private const int WindowBytes = 4 << 20;
    private const int BatchBytes = 2 << 20;
    private const int MaxBatchRecords = 1024;
    private const long MinIdleGarbageBytes = 64 << 10;
    private const int MaxShrinkSteps = 256;
    private const long StepBytes = 8 << 20; // read by one operation of the drive, as in verification: a slow drive is not to be taken for a hung one

    private readonly Dictionary<long, (long End, long Since)> _ends = []; // of the volumes being written to, as the runs have seen them; guarded by _one
    private readonly SemaphoreSlim _one = new(1, 1);
    private readonly CancellationTokenSource _stopping = new();

    public async ValueTask<CompactionReport> RunAsync(CompactionOptions options, CancellationToken cancellationToken)
    {
        options.Validate();
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
        await _one.WaitAsync(linked.Token).ConfigureAwait(false);
        try
        {
            return await new Run(this, engine, options, linked.Token).ExecuteAsync().ConfigureAwait(false);
        }
        finally
        {
            _one.Release();
        }
    }

    /// <summary>Cancels what runs and waits for its end; later runs are cancelled at once.</summary>
    public async ValueTask StopAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _one.WaitAsync().ConfigureAwait(false);
        _one.Release();
    }

    /// <summary>Notes how far the volumes that are being written to have come, and since when.</summary>
    private void NoteEnds()
    {
        foreach (long gone in _ends.Keys.Where(id => !engine.Index.Volumes.TryGetValue(id, out Volume? volume) || volume.State != VolumeState.Active).ToList())
            _ends.Remove(gone);
        foreach (Volume volume in engine.Index.Volumes.Values)
        {
            if (volume.State == VolumeState.Active && (!_ends.TryGetValue(volume.Id, out (long End, long Since) noted) || noted.End != volume.DurableEnd))
                _ends[volume.Id] = (volume.DurableEnd, engine.Time.GetTimestamp());
        }
    }

    private bool IsIdle(Volume volume, TimeSpan after)
        => _ends.TryGetValue(volume.Id, out (long End, long Since) noted) && noted.End == volume.DurableEnd && engine.Time.GetElapsedTime(noted.Since) >= after;

    private sealed class Run(VolumeCompactor compactor, DriveEngine engine, CompactionOptions options, CancellationToken cancellationToken)
    {
        private readonly RateLimit _rate = new(options.BytesPerSecond, engine.Time);
        private int _emptied;
        private int _left;
        private long _moved;
        private long _movedBytes;
        private long _freed;
        private long _corrupt;
        private readonly HashSet<(long VolumeId, long Offset)> _reported = [];
        private readonly Dictionary<long, long> _carried = []; // entries of tombstones read from the volume at hand, by the volumes they are for

        public async ValueTask<CompactionReport> ExecuteAsync()
        {
            await engine.SettleDeadCopiesAsync(cancellationToken).ConfigureAwait(false);
            if (engine.Index.IsRebuildDue)
                throw new DriveUnavailableException(engine.DriveId, "its index has missed changes after a fault and is rebuilt at the next start; nothing is compacted before"); // it cannot say what lives

            // Only volumes that were there at the beginning: what this run writes is not compacted by it.
            HashSet<long> candidates = [.. engine.Index.Volumes.Keys.Where(id => id <= (options.LastVolumeId ?? long.MaxValue))];
            compactor.NoteEnds();
            using var window = new AlignedBuffer(WindowBytes, honoursPins: true);
            using var area = new AlignedBuffer(BatchBytes, honoursPins: true);
            while (_emptied < options.MaxVolumes && Pick(candidates) is { } volume)
            {
                cancellationToken.ThrowIfCancellationRequested();
                candidates.Remove(volume.Id);
                await SealAsync(volume).ConfigureAwait(false);
                foreach (Volume target in candidates.Select(engine.Index.Volumes.GetValueOrDefault).OfType<Volume>().Where(target => WouldHideGarbage(target, volume)).ToList())
                    await SealAsync(target).ConfigureAwait(false);
                if (volume.State is VolumeState.Sealed or VolumeState.Poisoned && engine.Index.Volumes.ContainsKey(volume.Id))
                    await EmptyAsync(volume, window, area).ConfigureAwait(false);
            }

            return new CompactionReport(_emptied, _left, _moved, _movedBytes, _freed, _corrupt);
        }

        private void Tell(FragmentKey key, FragmentLocation location, string what)
        {
            _corrupt++;
            engine.Corrupt(key, location, what);
            options.OnDamaged?.Invoke(new FragmentEntry(key, location.PlacementGroup, location.SchemeId, location.PayloadBytes));
        }

        private async ValueTask SealAsync(Volume volume)
        {
            if (volume.State == VolumeState.Active)
                await engine.SubmitAsync(volume.Writer ?? engine.CompactionWriter, engine.NewSeal(volume), cancellationToken).ConfigureAwait(false);
        }

        /// <summary>Whether the copies of a volume would go to one that is worth compacting itself, and with them would not be any more.</summary>
        private bool WouldHideGarbage(Volume target, Volume copied)
        {
            if (!options.SealActive || engine.IsFull || target.State != VolumeState.Active || (target.Writer ?? engine.CompactionWriter) != engine.CompactionWriter)
                return false;
            long log = target.DurableEnd - VolumeFormat.LogStart, garbage = log - engine.Index.Useful(target).UsefulBytes;
            return garbage >= MinIdleGarbage(target) && garbage > log * options.GarbageRatio && garbage <= (log + engine.Index.Useful(copied).LiveBytes) * options.GarbageRatio;
        }

        private Volume? Pick(HashSet<long> candidates)
        {
            Volume? best = null;
            double bestRatio = options.GarbageRatio;
            foreach (long id in candidates)
            {
                if (!engine.Index.Volumes.TryGetValue(id, out Volume? volume))
                    continue;
                (_, long fragments, long useful) = engine.Index.Useful(volume);

                // One that is not written to any more ends with its file: a poisoned one keeps the room that was preallocated for it.
                long log = (volume.State == VolumeState.Active ? volume.DurableEnd : Math.Max(volume.DurableEnd, volume.File.LengthBytes)) - VolumeFormat.LogStart;
                if (log <= 0 || (volume.State == VolumeState.Active && (!options.SealActive || log - useful < MinGarbageToSeal(volume))))
                    continue;
                if ((volume.TombstonesCarried || volume.TombstonesLost) && fragments == volume.UnmovableFragments)
                    continue; // tried before: only repair can empty it
                double ratio = 1 - (useful / (double)log);
                if (ratio > bestRatio)
                    (best, bestRatio) = (volume, ratio);
            }

            return best;
        }

        private long MinGarbageToSeal(Volume volume)
            => !engine.IsFull && compactor.IsIdle(volume, options.IdleAfter) ? MinIdleGarbage(volume) : options.MinActiveGarbageBytes ?? (volume.Header.CapacityBytes / 16);

        private long MinIdleGarbage(Volume volume) => options.MinActiveGarbageBytes ?? Math.Min(MinIdleGarbageBytes, volume.Header.CapacityBytes / 16);

        private async ValueTask EmptyAsync(Volume volume, AlignedBuffer window, AlignedBuffer area)
        {
            if (!engine.Index.TryPin(volume))
                return;
            var scanner = new VolumeScanner(volume.File, volume.Header, window, triesPerPage: VolumeScanner.RecoveryTries);
            long length = volume.File.LengthBytes;
            _carried.Clear();
            try
            {
                await MoveAsync(volume, scanner, window, area).ConfigureAwait(false);

                // From here on the volume needs nothing of what is in it but fragments that could not be moved; and tombstones that could not be read, for which it stays while what they are for does.
                await engine.SettleDeadCopiesAsync(cancellationToken).ConfigureAwait(false);
                volume.TombstonesCarried = engine.Index.HasNoMoreTombstones(volume, _carried);
                if (!volume.TombstonesCarried && !volume.TombstonesLost)
                {
                    volume.TombstonesLost = true;
                    engine.TombstonesLost(volume);
                }

                volume.UnmovableFragments = engine.Index.Useful(volume).LiveFragments;
            }
            finally
            {
                // Whatever was on its way has been applied, or has failed; copies that came too late are on the list that reclaiming waits for.
                if (await TrySyncAsync().ConfigureAwait(false))
                    engine.Index.Unpin(volume);
            }

            // One page an operation, as in verification.
            FragmentKey? seen = null;
            for (bool more = volume.UnmovableFragments > 0; more; more = seen is not null)
            {
                cancellationToken.ThrowIfCancellationRequested();
                FragmentKey? from = seen;
                seen = engine.Threaded
                    ? await engine.Threads.RunAsync(() => ReportUnseen(volume, scanner, from), window).ConfigureAwait(false)
                    : ReportUnseen(volume, scanner, from);
            }

            if (engine.Threaded)
                await engine.Threads.RunAsync(Reclaim).ConfigureAwait(false);
            else
                Reclaim();
            if (engine.Index.Volumes.ContainsKey(volume.Id))
            {
                _left++;
                return;
            }

            _emptied++;
            _freed += length;
            StorageMetrics.CompactionFreedBytes.Add(length);

            // A little in each operation, as above; what is left then is cut off after the next volume.
            bool isMore = true;
            for (int step = 0; isMore && step < MaxShrinkSteps; step++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                isMore = await engine.Threads.RunAsync(engine.Index.ShrinkDatabase).ConfigureAwait(false);
            }
        }

        private async ValueTask MoveAsync(Volume volume, VolumeScanner scanner, AlignedBuffer window, AlignedBuffer area)
        {
            VolumeWriter writer = engine.CompactionWriter;
            var batch = new Batch();
            long position = VolumeFormat.LogStart;
            while (position < volume.DurableEnd)
            {
                cancellationToken.ThrowIfCancellationRequested();
                long from = position;
                position = engine.Threaded
                    ? await engine.Threads.RunAsync(() => Fill(volume, scanner, from, batch, area), window, area).ConfigureAwait(false)
                    : Fill(volume, scanner, from, batch, area);
                await WriteAsync(batch, writer).ConfigureAwait(false);
                await _rate.SpendAsync(batch.Bytes + ((position - from) / 8), cancellationToken).ConfigureAwait(false); // reading over garbage costs a little too
            }
        }

        /// <summary>
        /// Brings copies into the index that are written and not synced, of a batch that failed in part, of this run or of an earlier one: while they are on no list the volume must stay, whose
        /// records say whether they count. False where it stays pinned.
        /// </summary>
        private async ValueTask<bool> TrySyncAsync()
        {
            if (!engine.CompactionWriter.HasUnsynced)
                return true;
            try
            {
                await engine.SubmitAsync(engine.CompactionWriter, engine.NewSync(), CancellationToken.None).ConfigureAwait(false);
                return true;
            }
            catch (VolumePoisonedException)
            {
                return true; // the index has put them on the list of dead copies, or remembers them as older ones
            }
            catch (Exception e) when (e is StorageException or IOException or UnauthorizedAccessException or ObjectDisposedException)
            {
                return false;
            }
        }

        private bool Reclaim()
        {
            engine.Index.ReclaimVolumes();
            return true;
        }

        /// <summary>Fragments that the index has in the volume and that the walk through it did not find, because their headers are damaged. Looks at a page; returns where the next begins.</summary>
        private FragmentKey? ReportUnseen(Volume volume, VolumeScanner scanner, FragmentKey? after)
        {
            (List<(FragmentKey, FragmentLocation)> page, FragmentKey? next) = engine.Index.ListVolume(volume.Id, after);
            foreach ((FragmentKey key, FragmentLocation location) in page)
            {
                if (_reported.Contains((volume.Id, location.Offset)) || scanner.IsIntact(key, location.Offset, location.RecordBytes, volume.DurableEnd) || !engine.Index.IsLive(key, volume.Id, location.Offset))
                    continue;
                Tell(key, location, "compaction found no intact record of it");
            }

            return next;
        }

        /// <summary>Takes live fragments and needed tombstones until the batch is full; returns where to go on.</summary>
        private long Fill(Volume volume, VolumeScanner scanner, long position, Batch batch, AlignedBuffer area)
        {
            batch.Clear();
            try
            {
                return FillEmpty(volume, scanner, position, batch, area);
            }
            catch
            {
                // Nobody is going to write them, and what they pin is the area.
                foreach (WriteRequest copy in batch.Copies)
                    copy.Unpin();
                throw;
            }
        }

        private long FillEmpty(Volume volume, VolumeScanner scanner, long position, Batch batch, AlignedBuffer area)
        {
            long end = volume.DurableEnd, stop = position + StepBytes; // a bound to how long cancellation waits, too
            int used = 0;
            while (position < stop)
            {
                long at = position;
                if (!scanner.TryNext(ref at, end, out RecordHeader record, out ReadOnlySpan<byte> bytes, out bool intact))
                    return end;
                if (record.IsFragment && engine.Index.TryGet(record.FragmentKey, out FragmentLocation known) && known.VolumeId == volume.Id && known.Offset == record.Offset)
                {
                    if (!intact)
                    {
                        _reported.Add((volume.Id, record.Offset));
                        Tell(record.FragmentKey, known, "compaction found its payload damaged");
                    }
                    else
                    {
                        int start = VolumeFormat.AlignToPage(used);
                        if (start + record.PayloadBytes > area.LengthBytes || batch.Copies.Count == MaxBatchRecords)
                            return at;
                        bytes.Slice(record.PayloadOffset, record.PayloadBytes).CopyTo(area.GetSpan()[start..]);
                        used = start + record.PayloadBytes;
                        batch.Copies.Add(engine.NewCopy(WriteOf(record, bytes, area.Memory.Slice(start, record.PayloadBytes)), record.CreatedUnixMilliseconds, (volume.Id, record.Offset)));
                        batch.Bytes += record.RecordBytes;
                    }
                }
                else if (record.Kind == RecordKind.Tombstone && intact)
                {
                    foreach (TombstoneEntry entry in TombstoneEntry.Decode(bytes.Slice(record.PayloadOffset, record.PayloadBytes)))
                    {
                        if (entry.VolumeId == volume.Id || !engine.Index.Holds(entry.VolumeId))
                            continue;
                        batch.Tombstones.Add(entry);
                        _carried[entry.VolumeId] = _carried.GetValueOrDefault(entry.VolumeId) + 1;
                    }
                }

                position = VolumeScanner.After(record, intact);
                if (batch.Tombstones.Count >= TombstoneEntry.MaxPerRecord)
                    return position;
            }

            return position;
        }

        /// <summary>Writes the batch, syncs it once, and gives tombstones to those copies that came too late.</summary>
        private async ValueTask WriteAsync(Batch batch, VolumeWriter writer)
        {
            if (batch.Copies.Count == 0 && batch.Tombstones.Count == 0)
                return;
            var writes = new List<Task<WriteTicket>>(batch.Copies.Count + 1);

            // Not cancelled once the first is queued: the buffer they are written from is used again.
            foreach (WriteRequest copy in batch.Copies)
                writes.Add(SubmitAsync(writer, copy));
            foreach (TombstoneEntry[] part in batch.Tombstones.Chunk(TombstoneEntry.MaxPerRecord))
                writes.Add(SubmitAsync(writer, engine.NewTombstone(part, needsSync: false)));
            WriteTicket[] tickets = await Task.WhenAll(writes).ConfigureAwait(false);
            if (!Array.TrueForAll(tickets, ticket => ticket.IsDurable))
                await engine.SubmitAsync(writer, engine.NewSync(), CancellationToken.None).ConfigureAwait(false);
            foreach (WriteTicket ticket in tickets)
            {
                if (!ticket.IsDurable)
                    throw new VolumePoisonedException(engine.DriveId, ticket.Volume!.Id, null);
            }

            await engine.SettleDeadCopiesAsync(CancellationToken.None).ConfigureAwait(false);
            _moved += batch.Copies.Count;
            _movedBytes += batch.Bytes;
            StorageMetrics.CompactedBytes.Add(batch.Bytes);
        }

        /// <summary>Whatever goes wrong is in the task, so that all of a batch are awaited.</summary>
        private async Task<WriteTicket> SubmitAsync(VolumeWriter writer, WriteRequest request) => await engine.SubmitAsync(writer, request, CancellationToken.None).ConfigureAwait(false);

        private static FragmentWrite WriteOf(in RecordHeader record, ReadOnlySpan<byte> bytes, ReadOnlyMemory<byte> payload)
        {
            var checksums = new ulong[record.ChunkCount];
            for (int chunk = 0; chunk < checksums.Length; chunk++)
                checksums[chunk] = record.ChunkChecksum(bytes, chunk);
            _ = Scheme.TryFromId(record.SchemeId, out Scheme scheme); // the header was decoded, so it is one
            var descriptor = new ExtentDescriptor(record.Extent, record.PlacementGroup, record.BucketId, record.Key(bytes).ToArray(), record.Version, record.PartNumber);
            return new FragmentWrite(descriptor, scheme, record.BlockSizeBytes, record.Block, record.BlockLengthBytes, record.Shard, payload, checksums);
        }
    }

    private sealed class Batch
    {
        public List<WriteRequest> Copies { get; } = [];

        public List<TombstoneEntry> Tombstones { get; } = [];

        public long Bytes { get; set; }

        public void Clear()
        {
            Copies.Clear();
            Tombstones.Clear();
            Bytes = 0;
        }
    }
}

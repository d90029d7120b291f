using System.Buffers.Binary;
using System.Diagnostics;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Volumes;

/// <summary>What a writer needs of its drive.</summary>
internal interface IVolumeSource
{
    Guid DriveId { get; }

    /// <summary>A volume to append to: one that an earlier run left open, or a new one.</summary>
    /// <param name="minimumBytes">What has to fit beside the header, a close record and a footer.</param>
    /// <exception cref="DriveFullException">Less than the headroom would stay free.</exception>
    Volume TakeVolume(int minimumBytes, SpaceUse use);

    /// <summary>Takes one certain volume of those that an earlier run left open; false where a writer has it.</summary>
    bool TryTakeOpen(Volume volume);
}

internal enum SpaceUse
{
    Write,

    /// <summary>May use half of the headroom.</summary>
    Compaction,

    /// <summary>May use the headroom, or a full drive could never be emptied.</summary>
    Delete,
}

/// <summary>
/// Appends to one volume at a time. Takes everything that waits, lays it out in one run of pages, writes it with one call, and syncs once if anyone asked for it: group commit.
///
/// Failure model. Pages that have been synced are never written again. A failed write or sync poisons the volume: after a failed sync the kernel may have
/// thrown the dirty pages away, so it is not asked a second time, and everything not yet synced there is reported failed. Records reach the
/// index only after their sync; each record says up to where the volume was synced when it was made (DurableBelow), which is how recovery tells a torn end from
/// damage.
///
/// A drive that hangs is given up with <see cref="Fail"/>, which waits for no input or output: the thread may come back at any time later, and then touches neither the memory of requests nor the volume's
/// end any more.
///
/// Runs on a thread of its own, or is stepped by a test through <see cref="RunOnce"/>.
/// </summary>
internal sealed unsafe class VolumeWriter : IDisposable
{
    private const int StagingBytes = 2 << 20;
    private const int MaxBatchBytes = 8 << 20;
    private const int MaxCachedBatchBytes = 512 << 10;
    private const int ZeroAheadBytes = 1 << 20;

    private readonly IVolumeSource _source;
    private readonly DriveIndex _index;
    private readonly IStorageEvents _events;
    private readonly TimeProvider _time;
    private readonly AlignedBuffer _staging = new(StagingBytes);
    private readonly AlignedBuffer _zeros = new(1 << 20);
    private readonly object _gate = new();
    private readonly Lock _layout = new(); // held while callers' memory is read here; never during input or output
    private readonly Thread? _thread;
    private readonly List<VolumeSegment> _segments = [];
    private readonly List<ChecksumRun> _runs = [];
    private readonly List<WriteRequest> _batch = [];
    private List<WriteRequest> _pending = [];
    private List<WriteRequest> _taken = [];
    private int _finished; // of the requests taken, in order
    private bool _closing;
    private long _busySince; // timestamp; 0 where idle
    private volatile string? _failed;
    private Volume? _volume;

    // Of the batch being laid out: bytes used of the staging buffer, and where in it the open segment and the open checksum run begin.
    private int _staged;
    private int _segmentStart;
    private int _runStart;

    public VolumeWriter(IVolumeSource source, DriveIndex index, StorageOptions options, IStorageEvents events, TimeProvider time, bool threaded, int number)
    {
        _source = source;
        _index = index;
        _events = events;
        _time = time;
        Budget = new ByteBudget(options.WriterQueueBytes, threaded);
        _zeros.GetSpan().Clear();
        if (!threaded)
            return;
        _thread = new Thread(Run) { IsBackground = true, Name = $"volume writer {number}" };
        _thread.Start();
    }

    /// <summary>Callers take the cost of a request from here before they enqueue it; the writer gives it back.</summary>
    public ByteBudget Budget { get; }

    /// <summary>Whether anything that was submitted before is not yet synced and in the index. A sync that is submitted after this was true settles all of it. Thread-safe.</summary>
    public bool HasUnsynced => !Budget.IsIdle || Volatile.Read(ref _volume) is { Pending.Count: > 0 }; // in this order: a record is pending before its bytes go back to the budget

    /// <summary>For how long the writer has been at one batch; zero where it is idle.</summary>
    public TimeSpan BusyFor => Volatile.Read(ref _busySince) is var since and not 0 ? _time.GetElapsedTime(since) : TimeSpan.Zero;

    public void Enqueue(WriteRequest request)
    {
        lock (_gate)
        {
            ThrowIfFailed();
            ObjectDisposedException.ThrowIf(_closing, this);
            _pending.Add(request);
            if (_pending.Count == 1)
                Monitor.Pulse(_gate);
        }
    }

    /// <summary>Does what waits; false where nothing did. For the simulation, which has no writer thread.</summary>
    public bool RunOnce()
    {
        lock (_gate)
        {
            if (_pending.Count == 0)
                return false;
            (_pending, _taken) = (_taken, _pending);
        }

        Process(_taken);
        _taken.Clear();
        return true;
    }

    /// <summary>
    /// Gives the drive up: what waits or is under way fails now, except writes from memory that must not be left (see <see cref="WriteRequest.Abandon"/>), and the thread ends when the drive lets
    /// go of it. Does not block.
    /// </summary>
    public void Fail(string reason)
    {
        WriteRequest[] requests;
        lock (_gate)
        {
            if (_failed is not null)
                return;
            _failed = reason;
            _closing = true;
            requests = [.. _taken, .. _pending];
            _pending.Clear();
            Monitor.PulseAll(_gate);
        }

        Budget.Fail(Failure);
        lock (_layout)
        {
            // Once: from now on the writer reads no request's memory any more.
        }

        foreach (WriteRequest request in requests)
            request.Abandon(Failure());
    }

    /// <summary>Waits for the thread to end.</summary>
    public void Join() => _thread?.Join();

    /// <summary>Takes nothing more, and goes on with what waits. Does not block.</summary>
    public void BeginClose()
    {
        lock (_gate)
        {
            _closing = true;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Finishes what waits, marks the volume as closed in order, and ends the thread.</summary>
    public void Close()
    {
        BeginClose();
        if (_thread is not null)
            _thread.Join();
        else
            RunOnce();
        if (_volume is { } volume && _failed is null)
            CloseVolume(volume);
        _volume = null;
    }

    public void Dispose()
    {
        ((IDisposable)_staging).Dispose();
        ((IDisposable)_zeros).Dispose();
    }

    /// <summary>
    /// Ends a volume for good: footer, sync, and the unused room given back. Also used by recovery, which names the ranges that are torn writes: in records of their own that are
    /// synced first, because behind a footer those ranges would be damage.
    /// </summary>
    /// <exception cref="IOException">The drive failed; the caller poisons the volume.</exception>
    public static void WriteFooter(Volume volume, AlignedBuffer page, TimeProvider time, IReadOnlyList<VolumeRange>? voids = null)
    {
        foreach (VolumeRange[] part in (voids ?? []).Chunk(VolumeRange.MaxPerRecord))
        {
            var ranges = new byte[part.Length * VolumeRange.SizeBytes];
            for (int i = 0; i < part.Length; i++)
            {
                BinaryPrimitives.WriteInt64LittleEndian(ranges.AsSpan(i * VolumeRange.SizeBytes), part[i].Start);
                BinaryPrimitives.WriteInt64LittleEndian(ranges.AsSpan((i * VolumeRange.SizeBytes) + 8), part[i].End);
            }

            AppendControlPage(volume, RecordKind.Void, page, ranges, time);
        }

        if (voids?.Count > 0)
            volume.File.Sync();
        Span<byte> payload = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, volume.AppendChecksum);
        BinaryPrimitives.WriteInt64LittleEndian(payload[8..], volume.AppendOffset);
        AppendControlPage(volume, RecordKind.Footer, page, payload, time);
        volume.File.Sync();
        if (volume.File.LengthBytes > volume.AppendOffset)
        {
            volume.File.Truncate(volume.AppendOffset);
            volume.File.Sync();
        }
    }

    /// <summary>Writes a page that holds one record of the store's own; not synced.</summary>
    private static void AppendControlPage(Volume volume, RecordKind kind, AlignedBuffer buffer, ReadOnlySpan<byte> payload, TimeProvider time)
    {
        Span<byte> page = buffer.GetSpan()[..VolumeFormat.PageBytes];
        page.Clear();
        var header = new RecordHeader
        {
            Kind = kind,
            Place = new RecordPlace(volume.Header.Generation, volume.Id, volume.AppendOffset),
            DurableBelow = volume.DurableEnd,
            PayloadBytes = payload.Length,
            CreatedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
        };
        header.Measure();
        header.Encode(page, default, payload.Length == 0 ? [] : [Crc64Nvme.Compute(payload)]);
        payload.CopyTo(page[header.PayloadOffset..]);
        volume.File.Write(volume.AppendOffset, [new VolumeSegment((nint)buffer.Address, VolumeFormat.PageBytes)], throughCache: false);
        volume.AppendOffset += VolumeFormat.PageBytes;
        volume.AppendChecksum = Crc64Nvme.Append(volume.AppendChecksum, page);
    }

    private void Run()
    {
        while (true)
        {
            bool wasIdle = false;
            lock (_gate)
            {
                while (_pending.Count == 0)
                {
                    if (_closing)
                        return;
                    Monitor.Wait(_gate);
                    wasIdle = true;
                }
            }

            // Woken by the first request. Where all cores are busy it took the core of those who bring the next ones; with these it shares a sync. Else it goes on at once.
            if (wasIdle)
                Thread.Yield();
            lock (_gate)
                (_pending, _taken) = (_taken, _pending);
            try
            {
                Process(_taken);
            }
            catch (Exception e)
            {
                FailTaken(e);
            }

            Volatile.Write(ref _busySince, 0);
            lock (_gate)
                _taken.Clear();
        }
    }

    private Exception Failure() => new DriveUnavailableException(_source.DriveId, _failed!);

    private void ThrowIfFailed()
    {
        if (_failed is not null)
            throw Failure();
    }

    /// <summary>
    /// Something that no failure model names went wrong. What the volume holds is not known any more, so it is poisoned; the callers are told, and the thread goes on.
    /// </summary>
    private void FailTaken(Exception cause)
    {
        if (_layout.IsHeldByCurrentThread)
            _layout.Exit();
        Exception failure;
        if (_failed is not null)
        {
            failure = Failure();
        }
        else if (_volume is { } volume)
        {
            try
            {
                failure = Poison(volume, cause);
            }
            catch (Exception e)
            {
                // The host's handler of the event threw.
                failure = new VolumePoisonedException(_source.DriveId, volume.Id, new AggregateException(cause, e));
            }
        }
        else
        {
            failure = new VolumeWriterException(_source.DriveId, cause);
        }

        _batch.Clear();
        while (_finished < _taken.Count)
            Finish(_taken[_finished], failure);
    }

    private void Process(List<WriteRequest> requests)
    {
        int next = 0;
        _finished = 0;
        while (next < requests.Count)
        {
            if (_index.WaitForRoom() is { } failure)
            {
                for (; next < requests.Count; next++)
                    Finish(requests[next], failure);
                return;
            }

            next = ProcessBatch(requests, next);
        }
    }

    /// <summary>Lays out and writes as many requests as fit one batch; returns the index of the first one left.</summary>
    private int ProcessBatch(List<WriteRequest> requests, int first)
    {
        Volatile.Write(ref _busySince, _time.GetTimestamp());
        WriteRequest head = requests[first];
        ThrowIfFailed();
        if (head.Kind == RequestKind.Seal)
        {
            SealOnRequest(head);
            return first + 1;
        }

        if (!TryEnsureVolume(head, out Volume? volume, out Exception? refusal))
        {
            Finish(head, refusal!);
            return first + 1;
        }

        _segments.Clear();
        _runs.Clear();
        _batch.Clear();
        _staged = _segmentStart = _runStart = 0;
        long start = volume?.AppendOffset ?? 0;
        long cursor = start;
        bool needsSync = false;
        bool cached = true;
        int next = first;
        _layout.Enter(); // an exception lets go of it in FailTaken
        ThrowIfFailed();
        for (; next < requests.Count; next++)
        {
            WriteRequest request = requests[next];
            if (request.Kind == RequestKind.Seal)
                break; // alone, with what came before it written

            if (request.Kind != RequestKind.SyncOnly)
            {
                if (volume is null)
                    break; // The head was only a sync, for which no volume is opened.
                bool block = request.Kind == RequestKind.BlockFragment;
                long at = block ? VolumeFormat.AlignToPage(cursor) : cursor;
                RecordHeader header = HeaderOf(request, volume, at);
                int bytes = block ? VolumeFormat.AlignToPage(VolumeFormat.PageBytes + request.PayloadBytes) : header.RecordBytes;
                int staging = block ? 3 * VolumeFormat.PageBytes : bytes + VolumeFormat.PageBytes;
                if (VolumeFormat.AlignToPage(at + bytes) + VolumeFormat.TailBytes > volume.Header.CapacityBytes || at + bytes - start > MaxBatchBytes || _staged + staging > StagingBytes)
                    break;
                if (block)
                {
                    StageBlock(request, header);
                    cached = false;
                }
                else
                {
                    EncodeRecord(request, header, _staging.GetSpan().Slice(_staged, bytes));
                    _staged += bytes;
                }

                cursor = at + bytes;
                request.Ticket = new WriteTicket(volume, at, cursor);
                request.PayloadOffset = header.PayloadOffset;
            }

            needsSync |= request.NeedsSync;
            _batch.Add(request);
        }

        AlignStaged();
        CloseSegment();
        CloseRun();
        _layout.Exit();
        cursor = VolumeFormat.AlignToPage(cursor);
        if (volume is null)
        {
            FinishBatch(null);
            return next;
        }

        try
        {
            if (cursor > start)
                WriteSegments(volume, start, cursor, cached);
            if (needsSync)
                SyncVolume(volume);
        }
        catch (IOException e) when (_failed is null)
        {
            FinishBatch(Poison(volume, e));
            return next;
        }

        FinishBatch(null);
        return next;
    }

    /// <summary>
    /// Header page and last partial page go into the staging buffer, the pages between them are written from the caller's memory, which is only read: several drives may write from it at once.
    /// </summary>
    private void StageBlock(WriteRequest request, in RecordHeader header)
    {
        AlignStaged();
        Span<byte> page = _staging.GetSpan().Slice(_staged, VolumeFormat.PageBytes);
        EncodeRecord(request, header, page);
        _staged += VolumeFormat.PageBytes;
        CloseSegment();
        CloseRun();
        request.IsInKernel = true;
        int whole = request.PayloadBytes & ~(VolumeFormat.PageBytes - 1);
        _segments.Add(new VolumeSegment(request.PayloadAddress, whole));
        _runs.Add(new ChecksumRun(0, 0, request));
        if (whole == request.PayloadBytes)
            return;
        page = _staging.GetSpan().Slice(_staged, VolumeFormat.PageBytes);
        request.Payload.Span[whole..].CopyTo(page);
        page[(request.PayloadBytes - whole)..].Clear();
        _staged += VolumeFormat.PageBytes;
        _runStart = _staged; // the page belongs to the block's run
    }

    private void AlignStaged()
    {
        int end = VolumeFormat.AlignToPage(_staged);
        _staging.GetSpan()[_staged..end].Clear();
        _staged = end;
    }

    private void CloseSegment()
    {
        if (_staged > _segmentStart)
            _segments.Add(new VolumeSegment((nint)(_staging.Address + _segmentStart), _staged - _segmentStart));
        _segmentStart = _staged;
    }

    private void CloseRun()
    {
        if (_staged > _runStart)
            _runs.Add(new ChecksumRun(_runStart, _staged - _runStart, null));
        _runStart = _staged;
    }

    private void WriteSegments(Volume volume, long start, long end, bool onlyPacked)
    {
        // A first write into preallocated room makes fdatasync commit the file system's journal, which costs more than the data. Small
        // batches therefore go into pages written with zeros a little ahead. Measured: 240 µs become 110 µs for 4 KiB; 1 MiB ahead stalls less than 4 MiB.
        bool cached = onlyPacked && end - start <= MaxCachedBatchBytes;
        if (cached && end > volume.ZeroedTo)
            ZeroAhead(volume, start, end);

        // Before the write: if that fails they may be on the medium all the same.
        int fragments = 0;
        foreach (WriteRequest request in _batch)
        {
            if (request.Kind == RequestKind.SyncOnly)
                continue;
            fragments += request.Descriptor is null ? 0 : 1;
            if (request.Tombstones is { } tombstones)
                volume.Pending.Add(new PendingRecord(default, default, tombstones, (int)(request.Ticket.EndOffset - request.Ticket.Offset)));
            else
                volume.Pending.Add(PendingOf(request));
        }

        volume.File.Write(start, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_segments), cached);

        ulong checksum;
        lock (_layout)
        {
            ThrowIfFailed();
            checksum = ChecksumRuns(volume.AppendChecksum);
        }

        volume.AppendChecksum = checksum;
        volume.AppendOffset = end;
        volume.Appended = true;
        StorageMetrics.BytesWritten.Add(end - start);
        if (fragments == 0)
            return;
        StorageMetrics.FragmentsWritten.Add(fragments);
        StorageMetrics.BatchFragments.Record(fragments);
    }

    /// <summary>The file's checksum with the batch appended to it.</summary>
    private ulong ChecksumRuns(ulong checksum)
    {
        foreach (ChecksumRun run in _runs)
        {
            if (run.Block is not { } block)
            {
                checksum = Crc64Nvme.Append(checksum, _staging.GetSpan().Slice(run.Start, run.LengthBytes));
                continue;
            }

            // The chunks' checksums are known; only the padding has to be read.
            ReadOnlySpan<ulong> chunks = block.Checksums.Span;
            for (int chunk = 0; chunk < chunks.Length; chunk++)
                checksum = Crc64Nvme.Combine(checksum, chunks[chunk], Math.Min(VolumeFormat.ChunkBytes, block.PayloadBytes - (chunk * VolumeFormat.ChunkBytes)));
            checksum = Crc64Nvme.Append(checksum, _zeros.GetSpan()[..(VolumeFormat.AlignToPage(block.PayloadBytes) - block.PayloadBytes)]);
        }

        return checksum;
    }

    private static PendingRecord PendingOf(WriteRequest request)
    {
        var location = new FragmentLocation(
            request.Ticket.Volume!.Id, request.Ticket.Offset, request.PayloadOffset, request.PayloadBytes, request.Descriptor!.PlacementGroup, request.SchemeId);
        return new PendingRecord(new FragmentKey(request.Extent, request.Block, request.Shard), location, null, location.RecordBytes, request.Source);
    }

    private void ZeroAhead(Volume volume, long start, long end)
    {
        // Not past the last usable page, and never below the append offset: synced pages are not touched.
        long from = Math.Max(start, volume.ZeroedTo);
        long to = Math.Min(Math.Max(end, from + ZeroAheadBytes), volume.File.LengthBytes & ~(VolumeFormat.PageBytes - 1L));
        for (long at = from; at < to; at += _zeros.LengthBytes)
            volume.File.Write(at, [new VolumeSegment((nint)_zeros.Address, (int)Math.Min(_zeros.LengthBytes, to - at))], throughCache: false);
        volume.ZeroedTo = to;
    }

    private void SyncVolume(Volume volume)
    {
        if (volume.AppendOffset == volume.DurableEnd && volume.Pending.Count == 0)
            return;
        long began = Stopwatch.GetTimestamp();
        volume.File.Sync();
        StorageMetrics.SyncDuration.Record(Stopwatch.GetElapsedTime(began).TotalSeconds);
        _index.Apply(volume, volume.Pending, volume.AppendOffset, volume.AppendChecksum);
        volume.Pending.Clear();
    }

    private RecordHeader HeaderOf(WriteRequest request, Volume volume, long offset)
    {
        var header = new RecordHeader
        {
            Kind = request.Kind == RequestKind.Tombstone ? RecordKind.Tombstone : request.Source is null ? RecordKind.Fragment : RecordKind.Copy,
            SourceVolumeId = request.Source?.VolumeId ?? 0,
            SourceOffset = request.Source?.Offset ?? 0,
            Place = new RecordPlace(volume.Header.Generation, volume.Id, offset),
            IsPaged = request.Kind == RequestKind.BlockFragment,
            DurableBelow = volume.DurableEnd,
            CreatedUnixMilliseconds = request.CreatedUnixMilliseconds ?? _time.GetUtcNow().ToUnixTimeMilliseconds(),
            PayloadBytes = request.PayloadBytes,
        };
        if (request.Descriptor is { } descriptor)
        {
            header.Extent = request.Extent;
            header.Block = request.Block;
            header.Shard = request.Shard;
            header.SchemeId = request.SchemeId;
            header.PartNumber = (ushort)descriptor.PartNumber;
            header.PlacementGroup = descriptor.PlacementGroup;
            header.BucketId = descriptor.BucketId;
            header.Version = descriptor.Version;
            header.BlockSizeBytes = request.BlockSizeBytes;
            header.BlockLengthBytes = request.BlockLengthBytes;
            header.KeyBytes = request.KeyBytes;
        }

        header.Measure();
        return header;
    }

    private static void EncodeRecord(WriteRequest request, in RecordHeader header, Span<byte> destination)
    {
        ReadOnlySpan<byte> key = request.Descriptor is { } descriptor ? descriptor.KeyUtf8.Span : default;
        if (header.IsPaged)
        {
            destination[header.HeaderBytes..].Clear();
        }
        else
        {
            request.Payload.Span.CopyTo(destination[header.PayloadOffset..]);
            destination[(header.PayloadOffset + header.PayloadBytes)..].Clear();
        }

        header.Encode(destination, key, request.Checksums.Span);
    }

    private bool TryEnsureVolume(WriteRequest request, out Volume? volume, out Exception? refusal)
    {
        int bytes = request.MaxAppendBytes;
        refusal = null;
        volume = _volume;
        if (bytes == 0 || (volume is not null && VolumeFormat.AlignToPage(volume.AppendOffset + bytes) + VolumeFormat.TailBytes <= volume.Header.CapacityBytes))
            return true;
        try
        {
            // The new one first: on a full drive the old one stays open and takes what still fits.
            volume = _source.TakeVolume(bytes, request.Kind == RequestKind.Tombstone ? SpaceUse.Delete : request.MayUseHeadroom ? SpaceUse.Compaction : SpaceUse.Write);
        }
        catch (Exception e) when (e is StorageException or IOException or UnauthorizedAccessException)
        {
            refusal = e;
            return false;
        }

        ThrowIfFailed();
        if (_volume is { } full)
            Seal(full);
        volume.Writer = this;
        _volume = volume;
        return true;
    }

    /// <summary>Ends a volume before it is full, if it is this writer's or nobody's; one that another writer has taken meanwhile stays open.</summary>
    private void SealOnRequest(WriteRequest request)
    {
        Volume volume = request.ToSeal!;
        if (volume == _volume || (volume.Writer is null && _source.TryTakeOpen(volume)))
        {
            if (volume == _volume)
                _volume = null;
            volume.Writer = this;
            Seal(volume);
        }

        Finish(request, null);
    }

    private void Seal(Volume volume)
    {
        try
        {
            SyncVolume(volume);
            WriteFooter(volume, _staging, _time);
            volume.State = VolumeState.Sealed;
            _index.Apply(volume, volume.Pending, volume.AppendOffset, volume.AppendChecksum);
            _events.VolumeSealed(_source.DriveId, volume.Id, volume.AppendOffset);
            _index.WorkDue();
        }
        catch (IOException e)
        {
            Poison(volume, e);
        }
    }

    private void CloseVolume(Volume volume)
    {
        try
        {
            bool written = volume.AppendOffset > VolumeFormat.LogStart && (volume.Pending.Count > 0 || volume.AppendOffset > volume.DurableEnd || volume.Appended);
            SyncVolume(volume);
            if (!written || volume.AppendOffset + VolumeFormat.TailBytes > volume.Header.CapacityBytes)
                return;
            AppendControlPage(volume, RecordKind.Close, _staging, default, _time);
            volume.File.Sync();
            _index.Apply(volume, volume.Pending, volume.AppendOffset, volume.AppendChecksum);
        }
        catch (IOException e)
        {
            Poison(volume, e);
        }
    }

    private VolumePoisonedException Poison(Volume volume, Exception cause)
    {
        _index.Poison(volume, volume.Pending);
        volume.Pending.Clear();
        if (_volume == volume)
            _volume = null;
        StorageMetrics.VolumesPoisoned.Add(1);
        _events.VolumePoisoned(_source.DriveId, volume.Id, cause);
        return new VolumePoisonedException(_source.DriveId, volume.Id, cause);
    }

    private void FinishBatch(Exception? failure)
    {
        foreach (WriteRequest request in _batch)
            Finish(request, failure);
        _batch.Clear();
    }

    private void Finish(WriteRequest request, Exception? failure)
    {
        _finished++;
        Budget.Release(request.CostBytes);
        if (failure is null)
            request.Complete();
        else
            request.Fail(failure);
    }

    /// <summary>A stretch of the batch for the file's checksum: bytes of the staging buffer, or a block's payload and its padding.</summary>
    private readonly record struct ChecksumRun(int Start, int LengthBytes, WriteRequest? Block);
}

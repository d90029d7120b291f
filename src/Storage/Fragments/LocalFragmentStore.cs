using System.Runtime.CompilerServices;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Fragments;

/// <summary>
/// A drive of this process. Owns its engine: disposal finishes what waits, brings the index up to date and lets go of the drive's folder.
///
/// A drive that hangs is given up with <see cref="Fail"/>: every operation, under way or new, then ends with <see cref="DriveUnavailableException"/> without waiting for it. Memory the kernel may still
/// be reading or writing for such an operation is not used again: pooled buffers of the store stay pinned and are lost on purpose (see <see cref="Buffers.AlignedBuffer"/>), reads into any other memory
/// go through memory of the drive's own, and the only operation that does not end is a write the kernel holds of page-aligned memory whose owner does not look at pins.
///
/// A read is first tried without blocking (place from memory; RWF_NOWAIT: bytes from the page cache only); what is not there is read on the drive's own threads. After such a miss the next reads of the
/// same extent block at once: attempts that fail would spoil the kernel's detection of sequential reading, and with it its readahead. Reads that are to leave no trace in the page cache, and looks at a
/// header, ask whether the bytes are there before they are tried.
/// </summary>
public sealed class LocalFragmentStore : IFragmentStore, IVolumeVerifier
{
    private const int BlockingReadsAfterMiss = 64;
    private const int MissSlots = 1024;
    private const int MaxLocateTries = 8;

    private readonly DriveEngine _engine;
    private readonly VolumeCompactor _compactor;
    private readonly int[] _blockingReadsLeft = new int[MissSlots]; // by hash of the extent; races only cost an attempt
    private readonly ulong _opening; // random: tells the tickets of this opening of the drive from those of others, whose volumes have the same ids and generations
    private volatile bool _disposed;

    internal LocalFragmentStore(DriveEngine engine)
    {
        _engine = engine;
        _compactor = new VolumeCompactor(engine);
        _opening = engine.NextRandom();
    }

    public Guid DriveId => _engine.DriveId;

    public bool IsLocal => true;

    /// <summary>The drive's folder.</summary>
    public string Path => _engine.Path;

    internal DriveEngine Engine => _engine;

    /// <summary>Gives the drive up. Does not block. Its threads and files are let go in the background, as the drive lets go of them; false where it had been given up, or closed, before.</summary>
    internal bool Fail(string reason) => _engine.Fail(reason);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        Require(fragment);
        VolumeWriter writer = sync && fragment.Block == 0 ? _engine.PickWriter() : _engine.PickWriter(fragment.Descriptor.Id);
        try
        {
            WriteTicket ticket = await _engine.SubmitAsync(writer, _engine.NewFragment(fragment, sync), cancellationToken).ConfigureAwait(false);
            return new FragmentTicket(ticket.Volume!.Id, TicketGeneration(ticket.Volume), ticket.EndOffset);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
        {
            throw _engine.Translate(e);
        }
    }

    public ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        foreach (FragmentTicket ticket in tickets.Span)
        {
            if (!IsDurable(ticket, out _))
                return SyncWritersAsync(tickets, cancellationToken);
        }

        return default;
    }

    public ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        Require(address, offsetBytes, destination.Length);
        cancellationToken.ThrowIfCancellationRequested();
        ref int blockingReadsLeft = ref _blockingReadsLeft[(int)((ulong)address.Key.Extent.Value % MissSlots)];
        if (blockingReadsLeft <= 0 || !_engine.Threaded)
        {
            if (Read(address, offsetBytes, destination.Span, ReadCaching.Only))
                return default;
            if (!_engine.Threaded)
            {
                Read(address, offsetBytes, destination.Span, ReadCaching.Fill);
                return default;
            }

            blockingReadsLeft = BlockingReadsAfterMiss;
        }

        blockingReadsLeft--;
        return new ValueTask(_engine.Threads.ReadAsync(destination, memory => Read(address, offsetBytes, memory.Span, ReadCaching.Fill), cancellationToken));
    }

    public ValueTask ReadOnceAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        Require(address, offsetBytes, destination.Length);
        cancellationToken.ThrowIfCancellationRequested();
        if (Read(address, offsetBytes, destination.Span, ReadCaching.IfPresent))
            return default;
        return new ValueTask(_engine.Threads.ReadAsync(destination, memory => Read(address, offsetBytes, memory.Span, ReadCaching.Bypass), cancellationToken));
    }

    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination)
    {
        RequireOpen();
        Require(address, offsetBytes, destination.Length);
        return Read(address, offsetBytes, destination, ReadCaching.Only);
    }

    public ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        cancellationToken.ThrowIfCancellationRequested();
        return TryStatFromMemory(key, out FragmentDetails? details) ? new ValueTask<FragmentDetails?>(details)
            : new ValueTask<FragmentDetails?>(_engine.Threads.RunAsync(() => Stat(key)).WaitAsync(cancellationToken));
    }

    public async ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        try
        {
            await _engine.DeleteAsync(keys.ToArray(), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
        {
            throw _engine.Translate(e);
        }
    }

    public ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        ArgumentOutOfRangeException.ThrowIfLessThan(maxEntries, 1);
        cancellationToken.ThrowIfCancellationRequested();
        return new ValueTask<FragmentPage>(_engine.Threads.RunAsync(List).WaitAsync(cancellationToken));

        FragmentPage List()
        {
            try
            {
                return _engine.Index.List(groups, after, maxEntries);
            }
            catch (Exception e) when (e is IOException or IndexDamagedException)
            {
                throw _engine.Unavailable(e);
            }
        }
    }

    public ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        RequireOpen();
        cancellationToken.ThrowIfCancellationRequested();
        return new ValueTask<DriveStatistics>(_engine.Threads.RunAsync(_engine.GetStatistics).WaitAsync(cancellationToken));
    }

    /// <summary>The drive's volumes, by id, at one moment.</summary>
    public IReadOnlyList<VolumeInfo> ListVolumes() => _engine.ListVolumes();

    /// <summary>As <see cref="ListVolumes"/>, on a thread of the drive: what it asks may be held by one that hangs with the drive.</summary>
    /// <exception cref="DriveUnavailableException">The drive has been given up.</exception>
    public Task<IReadOnlyList<VolumeInfo>> ListVolumesAsync(CancellationToken cancellationToken = default)
    {
        RequireOpen();
        return _engine.Threads.RunAsync(_engine.ListVolumes).WaitAsync(cancellationToken);
    }

    /// <summary>
    /// Moves what lives out of volumes with too much garbage and deletes them. One at a time per drive: a second call waits for the first. May be cancelled, and the machine may crash, at any
    /// moment: what has been moved stays moved. Nothing that is acknowledged is ever in danger, nothing deleted comes back.
    /// </summary>
    /// <exception cref="DriveFullException">There is no room even for one more volume within half of the headroom.</exception>
    /// <exception cref="VolumePoisonedException">A volume it wrote to failed; the next call goes on.</exception>
    /// <exception cref="DriveUnavailableException">The drive or its index does not answer.</exception>
    public async ValueTask<CompactionReport> CompactAsync(CompactionOptions options, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        try
        {
            return await _compactor.RunAsync(options, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
        {
            throw _engine.Translate(e);
        }
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<SealedVolume>> ListSealedVolumesAsync(CancellationToken cancellationToken = default)
    {
        RequireOpen();
        return new([.. _engine.Index.Volumes.Values.Where(volume => volume.State == VolumeState.Sealed).OrderBy(volume => volume.Id)
            .Select(volume => new SealedVolume(volume.Id, volume.DurableEnd - VolumeFormat.LogStart))]);
    }

    /// <inheritdoc/>
    public async ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, long bytesPerSecond = 0, CancellationToken cancellationToken = default)
    {
        RequireOpen();
        try
        {
            return await new VolumeVerifier(_engine).VerifyAsync(volumeId, bytesPerSecond, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
        {
            throw _engine.Translate(e);
        }
    }

    public ValueTask DisposeAsync() => DisposeAsync(Timeout.InfiniteTimeSpan);

    /// <summary>As <see cref="DisposeAsync()"/>, but gives the drive up where it has not closed within the limit.</summary>
    internal async ValueTask DisposeAsync(TimeSpan limit)
    {
        if (_disposed)
            return;
        _disposed = true;

        try
        {
            await CloseAsync().WaitAsync(limit, _engine.Time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _engine.Fail($"it did not close within {limit.TotalSeconds:0.###} s");
        }
    }

    private async Task CloseAsync()
    {
        await _compactor.StopAsync().ConfigureAwait(false);

        // On a thread of its own: a drive that hangs keeps it.
        await Task.Factory.StartNew(_engine.Dispose, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
    }

    private void RequireOpen()
    {
        _engine.ThrowIfFailed();
        ObjectDisposedException.ThrowIf(_disposed, this);
    }

    private static void Require(in FragmentWrite fragment)
    {
        if (fragment.Payload.Length != fragment.Scheme.ShardBytes(fragment.BlockLengthBytes) || fragment.Payload.Length > VolumeFormat.MaxBlockBytes)
            throw new ArgumentException("The payload has not the length that the scheme gives a shard of this block.", nameof(fragment));
        if (fragment.ChunkChecksums.Length != VolumeFormat.ChunkCount(fragment.Payload.Length))
            throw new ArgumentException("A payload has one checksum for each of its chunks.", nameof(fragment));
        if (fragment.Descriptor.KeyUtf8.Length > ExtentDescriptor.MaxKeyBytes)
            throw new ArgumentException($"A key has at most {ExtentDescriptor.MaxKeyBytes} bytes.", nameof(fragment));
        if (fragment.Descriptor.PartNumber is < 0 or > ushort.MaxValue)
            throw new ArgumentException("A part number is 0 to 65535.", nameof(fragment));
        if (fragment.Shard is < 0 or >= Scheme.MaxShards || fragment.Block < 0 || fragment.Descriptor.PlacementGroup < 0)
            throw new ArgumentException("Block, shard or placement group is out of range.", nameof(fragment));
    }

    private static void Require(in FragmentAddress address, int offsetBytes, int lengthBytes)
    {
        if (offsetBytes < 0 || offsetBytes % VolumeFormat.ChunkBytes != 0 || lengthBytes > address.PayloadBytes - offsetBytes
            || (lengthBytes % VolumeFormat.ChunkBytes != 0 && offsetBytes + lengthBytes != address.PayloadBytes))
            throw new ArgumentException("A read covers whole chunks.", nameof(offsetBytes));
    }

    /// <exception cref="VolumePoisonedException">What it stands for is lost.</exception>
    private bool IsDurable(FragmentTicket ticket, out VolumeWriter? writer)
    {
        writer = null;

        // First: what another opening of the drive left unsynced, recovery has cut off or taken in and appended to, so that offsets say nothing of it any more.
        bool isThere = _engine.Index.Volumes.TryGetValue(ticket.VolumeId, out Volume? volume);
        if (isThere ? ticket.Generation != TicketGeneration(volume!) : !_engine.Index.WasReclaimed(ticket.VolumeId, ticket.Generation ^ _opening))
            throw new VolumePoisonedException(DriveId, ticket.VolumeId, new InvalidOperationException("The ticket is of another opening of the drive."));
        if (_engine.Index.IsLost(ticket.VolumeId, ticket.Generation ^ _opening, ticket.EndOffset))
            throw new VolumePoisonedException(DriveId, ticket.VolumeId, null);

        // A volume that is gone was sealed, synced and then reclaimed, since it was not poisoned with these bytes unsynced.
        if (!isThere)
            return true;
        writer = volume!.Writer;
        return volume.DurableEnd >= ticket.EndOffset;
    }

    private ulong TicketGeneration(Volume volume) => volume.Header.Generation ^ _opening;

    private async ValueTask SyncWritersAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken)
    {
        // Writers are few, tickets may be many.
        var writers = new List<VolumeWriter>(1);
        foreach (FragmentTicket ticket in tickets.Span)
        {
            if (!IsDurable(ticket, out VolumeWriter? writer) && writer is not null && !writers.Contains(writer))
                writers.Add(writer);
        }

        try
        {
            if (writers.Count == 1)
                await _engine.SubmitAsync(writers[0], _engine.NewSync(), cancellationToken).ConfigureAwait(false);
            else
                await Task.WhenAll(writers.Select(writer => _engine.SubmitAsync(writer, _engine.NewSync(), cancellationToken).AsTask())).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
        {
            throw _engine.Translate(e);
        }

        // Which says what the writer cannot: a volume may have been poisoned, and another begun, before the request came to it.
        foreach (FragmentTicket ticket in tickets.Span)
        {
            if (!IsDurable(ticket, out _))
                throw new VolumePoisonedException(DriveId, ticket.VolumeId, null);
        }
    }

    /// <summary>False where the bytes are not in memory and only that was asked for.</summary>
    private bool Read(in FragmentAddress address, int offsetBytes, Span<byte> destination, ReadCaching caching)
    {
        FragmentKey key = address.Key;
        if (caching is ReadCaching.Only or ReadCaching.IfPresent && _engine.Threaded)
            return ReadFromMemory(address, offsetBytes, destination, caching);
        for (int tries = 0; TryLocate(key, out FragmentLocation location, out Volume volume) && tries < MaxLocateTries; tries++)
        {
            RequirePlausible(address, location);
            try
            {
                return ReadAt(address, location, volume, offsetBytes, destination, caching);
            }
            catch (ObjectDisposedException) when (!_disposed)
            {
                // The volume was deleted between the look-up and the read: the fragment was moved or deleted before.
                _engine.Index.Forget(key);
            }
        }

        throw new FragmentMissingException(key.Extent, key.Block, key.Shard);
    }

    /// <summary>On a caller's thread, which must not wait for the drive: neither for the index's database nor for the volume.</summary>
    private bool ReadFromMemory(in FragmentAddress address, int offsetBytes, Span<byte> destination, ReadCaching caching)
    {
        FragmentKey key = address.Key;
        bool? found = _engine.Index.TryGetInMemory(key, out FragmentLocation location);
        if (found == false)
            throw new FragmentMissingException(key.Extent, key.Block, key.Shard);
        if (found is null || !_engine.Index.Volumes.TryGetValue(location.VolumeId, out Volume? volume))
            return false;
        RequirePlausible(address, location);
        try
        {
            return ReadAt(address, location, volume, offsetBytes, destination, caching);
        }
        catch (ObjectDisposedException) when (!_disposed)
        {
            return false;
        }
    }

    private bool ReadAt(in FragmentAddress address, in FragmentLocation location, Volume volume, int offsetBytes, Span<byte> destination, ReadCaching caching)
    {
        FragmentKey key = address.Key;
        Span<byte> header = stackalloc byte[location.PayloadOffset + (caching == ReadCaching.Bypass ? AlignedBuffer.Alignment : 0)];
        header = header[(caching == ReadCaching.Bypass ? AlignedBuffer.BytesToAligned(header) : 0)..][..location.PayloadOffset];
        try
        {
            // The header is read with the payload's beginning, or else first: the bytes wanted may be far behind it.
            bool together = offsetBytes == 0;
            int headerBytes = together ? 0 : volume.File.Read(location.Offset, header, default, caching);
            if (headerBytes < 0)
                return false;
            int read = together
                ? volume.File.Read(location.Offset, header, destination, caching)
                : volume.File.Read(location.Offset + location.PayloadOffset + offsetBytes, destination, default, caching);
            if (read < 0)
                return false;
            if (headerBytes + read < header.Length + destination.Length)
                throw _engine.Corrupt(key, location, "the volume ends within it");
        }
        catch (IOException e)
        {
            _engine.RequireAnswer(e);
            throw _engine.Corrupt(key, location, "the drive cannot read it", e);
        }

        RecordHeader record = DecodeHeader(key, location, volume, header);
        if (record.PlacementGroup != address.PlacementGroup || record.SchemeId != address.Scheme.Id)
            throw _engine.Corrupt(key, location, $"its record says placement group {record.PlacementGroup} and scheme {record.SchemeId:x4}, expected were {address.PlacementGroup} and {address.Scheme.Id:x4}");
        for (int done = 0; done < destination.Length; done += VolumeFormat.ChunkBytes)
        {
            ReadOnlySpan<byte> chunk = destination.Slice(done, Math.Min(VolumeFormat.ChunkBytes, destination.Length - done));
            if (Crc64Nvme.Compute(chunk) != record.ChunkChecksum(header, (offsetBytes + done) / VolumeFormat.ChunkBytes))
            {
                destination.Clear();
                throw _engine.Corrupt(key, location, $"the checksum of the chunk at {offsetBytes + done} does not match");
            }
        }

        StorageMetrics.BytesRead.Add(destination.Length);
        return true;
    }

    /// <summary>On a caller's thread, which must not wait for the drive. False where it would have to.</summary>
    private bool TryStatFromMemory(FragmentKey key, out FragmentDetails? details)
    {
        details = null;
        bool? found = _engine.Index.TryGetInMemory(key, out FragmentLocation location);
        if (found is not true)
            return found is false;
        if (!_engine.Index.Volumes.TryGetValue(location.VolumeId, out Volume? volume))
            return false;
        try
        {
            return (details = StatAt(key, location, volume, ReadCaching.IfPresent)) is not null;
        }
        catch (ObjectDisposedException) when (!_disposed)
        {
            return false;
        }
    }

    private FragmentDetails? Stat(FragmentKey key)
    {
        for (int tries = 0; TryLocate(key, out FragmentLocation location, out Volume volume) && tries < MaxLocateTries; tries++)
        {
            try
            {
                return StatAt(key, location, volume, ReadCaching.Fill);
            }
            catch (ObjectDisposedException) when (!_disposed)
            {
                _engine.Index.Forget(key);
            }
        }

        return null;
    }

    /// <summary>Null where the header is not in memory and only that was asked for.</summary>
    private FragmentDetails? StatAt(FragmentKey key, in FragmentLocation location, Volume volume, ReadCaching caching)
    {
        RequirePlausible(key, location);
        Span<byte> header = stackalloc byte[location.PayloadOffset];
        try
        {
            int read = volume.File.Read(location.Offset, header, default, caching);
            if (read < 0)
                return null;
            if (read < header.Length)
                throw _engine.Corrupt(key, location, "the volume ends within it");
        }
        catch (IOException e)
        {
            _engine.RequireAnswer(e);
            throw _engine.Corrupt(key, location, "the drive cannot read it", e);
        }

        RecordHeader record = DecodeHeader(key, location, volume, header);
        if (!Scheme.TryFromId(record.SchemeId, out Scheme scheme))
            throw _engine.Corrupt(key, location, $"its scheme {record.SchemeId:x4} is none");
        var descriptor = new ExtentDescriptor(record.Extent, record.PlacementGroup, record.BucketId, record.Key(header).ToArray(), record.Version, record.PartNumber);
        return new FragmentDetails(
            key, descriptor, scheme, record.BlockSizeBytes, record.BlockLengthBytes, record.PayloadBytes, DateTimeOffset.FromUnixTimeMilliseconds(record.CreatedUnixMilliseconds));
    }

    private bool TryLocate(FragmentKey key, out FragmentLocation location, out Volume volume)
    {
        try
        {
            return _engine.TryLocate(key, out location, out volume);
        }
        catch (IOException e)
        {
            throw _engine.Unavailable(e);
        }
        catch (IndexDamagedException e)
        {
            _engine.Index.RequireRebuild(e);
            throw _engine.Unavailable(e);
        }
    }

    private void RequirePlausible(in FragmentAddress address, in FragmentLocation location)
    {
        RequirePlausible(address.Key, location);
        if (location.PayloadBytes != address.PayloadBytes)
            throw _engine.Corrupt(address.Key, location, $"it has {location.PayloadBytes} bytes where {address.PayloadBytes} were expected");
    }

    /// <summary>The numbers come from the index's database, which nothing but SQLite guards: they are checked before they size a buffer.</summary>
    private void RequirePlausible(FragmentKey key, in FragmentLocation location)
    {
        if (location.PayloadOffset is < RecordHeader.MinBytes or > RecordHeader.MaxBytes || location.Offset < VolumeFormat.LogStart)
            throw _engine.Corrupt(key, location, $"the index places its payload {location.PayloadOffset} bytes behind {location.Offset}, which cannot be");
    }

    private RecordHeader DecodeHeader(FragmentKey key, in FragmentLocation location, Volume volume, ReadOnlySpan<byte> header)
    {
        if (!RecordHeader.TryDecode(header, new RecordPlace(volume.Header.Generation, volume.Id, location.Offset), out RecordHeader record))
            throw _engine.Corrupt(key, location, "its header is damaged");
        if (!record.IsFragment || record.FragmentKey != key || record.PayloadBytes != location.PayloadBytes || record.PayloadOffset != location.PayloadOffset)
            throw _engine.Corrupt(key, location, "another record is in its place");
        return record;
    }
}

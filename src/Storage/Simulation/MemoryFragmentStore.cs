using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Simulation;

public enum FragmentOperation
{
    Write,
    Sync,
    Read,
    Stat,
    Delete,
    List,
    Statistics,
}

/// <summary>
/// A drive in memory with the contract of <see cref="IFragmentStore"/>, and with faults: what a test injects happens before the operation takes effect, and may delay it, fail it or
/// hang. Thread-safe.
/// </summary>
public sealed class MemoryFragmentStore(Guid driveId, TimeProvider time) : IFragmentStore
{
    private const long CapacityBytes = 1L << 40;

    private readonly Lock _lock = new();
    private readonly SortedDictionary<FragmentKey, Stored> _fragments = [];
    private long _written;
    private long _read;

    /// <summary>Awaited at the start of every operation. Null injects nothing.</summary>
    public Func<FragmentOperation, FragmentKey?, CancellationToken, ValueTask>? Fault { get; set; }

    public Guid DriveId => driveId;

    public bool IsLocal => true;

    public bool IsReachable { get; set; } = true;

    /// <summary>Payload bytes that have been read.</summary>
    public long BytesRead => Volatile.Read(ref _read);

    public int Count
    {
        get
        {
            lock (_lock)
                return _fragments.Count;
        }
    }

    public IReadOnlyList<FragmentKey> Keys
    {
        get
        {
            lock (_lock)
                return [.. _fragments.Keys];
        }
    }

    /// <summary>Changes a byte of a stored payload; false where there is no such fragment.</summary>
    public bool Corrupt(FragmentKey key, int offsetBytes)
    {
        lock (_lock)
        {
            if (!_fragments.TryGetValue(key, out Stored? stored) || stored.Payload.Length == 0)
                return false;
            stored.Payload[offsetBytes % stored.Payload.Length] ^= 0x5A;
            return true;
        }
    }

    /// <summary>Everything is gone, as after the loss of the drive.</summary>
    public void Clear()
    {
        lock (_lock)
            _fragments.Clear();
    }

    public async ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.Write, fragment.Key, cancellationToken).ConfigureAwait(false);
        if (fragment.Payload.Length != fragment.Scheme.ShardBytes(fragment.BlockLengthBytes))
            throw new ArgumentException("The payload has not the length that the scheme gives a shard of this block.", nameof(fragment));
        Stored stored = new(fragment with { Payload = default, ChunkChecksums = default, Descriptor = fragment.Descriptor with { KeyUtf8 = fragment.Descriptor.KeyUtf8.ToArray() } },
            fragment.Payload.ToArray(), fragment.ChunkChecksums.ToArray(), time.GetUtcNow());
        lock (_lock)
        {
            _fragments[fragment.Key] = stored;
            return new FragmentTicket(1, 1, ++_written);
        }
    }

    public ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default) => InjectAsync(FragmentOperation.Sync, null, cancellationToken);

    public async ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.Read, address.Key, cancellationToken).ConfigureAwait(false);
        Read(address, offsetBytes, destination.Span);
    }

    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination)
    {
        if (Fault is { } fault)
        {
            ValueTask injected = fault(FragmentOperation.Read, address.Key, CancellationToken.None);
            if (!injected.IsCompleted)
                return false;
            injected.GetAwaiter().GetResult();
        }

        Read(address, offsetBytes, destination);
        return true;
    }

    public async ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.Stat, key, cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            if (!_fragments.TryGetValue(key, out Stored? stored))
                return null;
            FragmentWrite write = stored.Write;
            return new FragmentDetails(key, write.Descriptor, write.Scheme, write.BlockSizeBytes, write.BlockLengthBytes, stored.Payload.Length, stored.Created);
        }
    }

    public async ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.Delete, keys.IsEmpty ? null : keys.Span[0], cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            foreach (FragmentKey key in keys.Span)
                _fragments.Remove(key);
        }
    }

    public async ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.List, after, cancellationToken).ConfigureAwait(false);
        List<FragmentEntry> entries = [];
        lock (_lock)
        {
            foreach ((FragmentKey key, Stored stored) in _fragments)
            {
                if ((after is { } last && key.CompareTo(last) <= 0) || (groups is not null && !groups.Contains(stored.Write.Descriptor.PlacementGroup)))
                    continue;
                if (entries.Count == maxEntries)
                    return new FragmentPage(entries, entries[^1].Key);
                entries.Add(new FragmentEntry(key, stored.Write.Descriptor.PlacementGroup, stored.Write.Scheme.Id, stored.Payload.Length));
            }
        }

        return new FragmentPage(entries, null);
    }

    public async ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default)
    {
        await InjectAsync(FragmentOperation.Statistics, null, cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            long live = _fragments.Values.Sum(stored => (long)stored.Payload.Length);
            return new DriveStatistics(driveId, "memory", DriveState.Healthy, CapacityBytes, CapacityBytes - live, live, 0, _fragments.Count, 1, 0, 0, 0);
        }
    }

    public ValueTask DisposeAsync() => default;

    private void Read(FragmentAddress address, int offsetBytes, Span<byte> destination)
    {
        FragmentKey key = address.Key;
        lock (_lock)
        {
            if (!_fragments.TryGetValue(key, out Stored? stored))
                throw new FragmentMissingException(key.Extent, key.Block, key.Shard);
            if (stored.Payload.Length != address.PayloadBytes || stored.Write.Scheme != address.Scheme || stored.Write.Descriptor.PlacementGroup != address.PlacementGroup)
                throw Corrupt("another record is in its place");
            if (offsetBytes % VolumeFormat.ChunkBytes != 0 || (destination.Length % VolumeFormat.ChunkBytes != 0 && offsetBytes + destination.Length != stored.Payload.Length))
                throw new ArgumentException("A read covers whole chunks.", nameof(offsetBytes));
            stored.Payload.AsSpan(offsetBytes, destination.Length).CopyTo(destination);
            Interlocked.Add(ref _read, destination.Length);
            for (int done = 0; done < destination.Length; done += VolumeFormat.ChunkBytes)
            {
                ReadOnlySpan<byte> chunk = destination.Slice(done, Math.Min(VolumeFormat.ChunkBytes, destination.Length - done));
                if (Crc64Nvme.Compute(chunk) != stored.Checksums[(offsetBytes + done) / VolumeFormat.ChunkBytes])
                    throw Corrupt("the checksum of a chunk does not match");
            }
        }

        FragmentCorruptException Corrupt(string reason) => new(key.Extent, key.Block, key.Shard, driveId, 1, 0, reason);
    }

    private ValueTask InjectAsync(FragmentOperation operation, FragmentKey? key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Fault is { } fault ? fault(operation, key, cancellationToken) : default;
    }

    private sealed record Stored(FragmentWrite Write, byte[] Payload, ulong[] Checksums, DateTimeOffset Created);
}

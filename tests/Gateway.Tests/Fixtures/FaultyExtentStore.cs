using System.Collections.Concurrent;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Gateway.Tests.Fixtures;

/// <summary>An extent store that fails where a test says so, and remembers what was written and deleted.</summary>
internal sealed class FaultyExtentStore(IExtentStore inner) : IExtentStore
{
    /// <summary>Thrown where an extent would become durable.</summary>
    public Func<Exception>? OnStore { get; set; }

    /// <summary>Called when an extent has become durable.</summary>
    public Action? OnStored { get; set; }

    /// <summary>Thrown where an extent would be deleted.</summary>
    public Func<Exception>? OnDelete { get; set; }

    /// <summary>Given the offset in the extent that comes next: an exception, or null to read on.</summary>
    public Func<long, Exception?>? OnRead { get; set; }

    /// <summary>Extents that became durable.</summary>
    public ConcurrentQueue<ExtentLayout> Stored { get; } = new();

    /// <summary>Extents that were deleted.</summary>
    public ConcurrentQueue<ExtentLayout> Deleted { get; } = new();

    public IClusterMap ClusterMap => inner.ClusterMap;

    public ExtentIdFactory Ids => inner.Ids;

    public void Reset()
    {
        (OnStore, OnStored, OnDelete, OnRead) = (null, null, null, null);
        Stored.Clear();
        Deleted.Clear();
    }


    public IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null) => new Writer(this, inner.CreateExtent(descriptor, expectedLengthBytes));

    public async ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        if (OnStore is { } fault) throw fault();
        return Remember(await inner.WriteAsync(descriptor, bytes, cancellationToken));
    }

    public IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes) => new Reader(this, inner.OpenRead(layout, offsetBytes, lengthBytes), offsetBytes);

    public bool TryReadSmall(ExtentLayout layout, Span<byte> destination)
    {
        if (OnRead?.Invoke(0) is { } fault) throw fault;
        return inner.TryReadSmall(layout, destination);
    }

    public async ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default)
    {
        if (OnDelete is { } fault) throw fault();
        await inner.DeleteAsync(layout, cancellationToken);
        Deleted.Enqueue(layout);
    }

    public IReadOnlyList<DriveStatistics> GetStatistics() => inner.GetStatistics();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private ExtentLayout Remember(ExtentLayout layout)
    {
        Stored.Enqueue(layout);
        OnStored?.Invoke();
        return layout;
    }

    private sealed class Writer(FaultyExtentStore store, IExtentWriter inner) : IExtentWriter
    {
        public long LengthBytes => inner.LengthBytes;

        public Memory<byte> GetMemory() => inner.GetMemory();

        public void Advance(int bytes) => inner.Advance(bytes);

        public ValueTask FlushIfFullAsync(CancellationToken cancellationToken = default) => inner.FlushIfFullAsync(cancellationToken);

        public async ValueTask<ExtentLayout> CompleteAsync(CancellationToken cancellationToken = default)
        {
            if (store.OnStore is { } fault) throw fault();
            return store.Remember(await inner.CompleteAsync(cancellationToken));
        }

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }

    private sealed class Reader(FaultyExtentStore store, IExtentReader inner, long offset) : IExtentReader
    {
        public long RemainingBytes => inner.RemainingBytes;

        public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken = default)
        {
            if (store.OnRead?.Invoke(offset) is { } fault) throw fault;
            int read = await inner.ReadAsync(destination, cancellationToken);
            offset += read;
            return read;
        }

        public async ValueTask<ReadOnlyMemory<byte>> ReadNextAsync(CancellationToken cancellationToken = default)
        {
            if (store.OnRead?.Invoke(offset) is { } fault) throw fault;
            ReadOnlyMemory<byte> piece = await inner.ReadNextAsync(cancellationToken);
            offset += piece.Length;
            return piece;
        }

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}

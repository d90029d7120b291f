using System.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Tests.Extents;

/// <summary>A drive that is given up within its first read, as <see cref="LocalFragmentStore"/> is: the read fails, and the memory stays pinned for what may still come into it. Has nothing else.</summary>
internal sealed class GivenUpDrive(Guid driveId) : IFragmentStore
{
    private Memory<byte> _destination;
    private MemoryHandle _pin;

    public Guid DriveId => driveId;

    public bool IsLocal => true;

    public bool HasBeenRead { get; private set; }

    /// <summary>What the kernel had begun ends.</summary>
    public void WriteLate()
    {
        Assert.True(HasBeenRead);
        _destination.Span.Fill(0x5A);
        _pin.Dispose();
    }

    public ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        if (!HasBeenRead)
            (_destination, _pin, HasBeenRead) = (destination, destination.Pin(), true);
        return ValueTask.FromException(Unavailable());
    }

    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination) => throw Unavailable();

    public ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default) => ValueTask.FromException<FragmentDetails?>(Unavailable());

    public ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default) => ValueTask.FromException<FragmentTicket>(Unavailable());

    public ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default) => ValueTask.FromException(Unavailable());

    public ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default) => ValueTask.FromException(Unavailable());

    public ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default) => ValueTask.FromException<FragmentPage>(Unavailable());

    public ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default) => ValueTask.FromException<DriveStatistics>(Unavailable());

    public ValueTask DisposeAsync() => default;

    private DriveUnavailableException Unavailable() => new(driveId, "it has been given up");
}

using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>A drive in memory, with sealed volumes of which it says what it is told to.</summary>
internal sealed class DriveWithVolumes(MemoryFragmentStore inner, params VolumeVerification[] volumes) : IFragmentStore, IVolumeVerifier
{
    public List<long> Verified { get; } = [];

    public List<long> Rates { get; } = [];

    /// <summary>Awaited in each verification.</summary>
    public Func<CancellationToken, Task> Verifying { get; set; } = _ => Task.CompletedTask;

    public Guid DriveId => inner.DriveId;

    public bool IsLocal => true;

    public ValueTask<IReadOnlyList<SealedVolume>> ListSealedVolumesAsync(CancellationToken cancellationToken = default)
        => new([.. volumes.Select(volume => new SealedVolume(volume.VolumeId, volume.BytesRead))]);

    public async ValueTask<VolumeVerification?> VerifyVolumeAsync(long volumeId, long bytesPerSecond = 0, CancellationToken cancellationToken = default)
    {
        Verified.Add(volumeId);
        Rates.Add(bytesPerSecond);
        await Verifying(cancellationToken);
        return Array.Find(volumes, volume => volume.VolumeId == volumeId);
    }

    public ValueTask<FragmentTicket> WriteAsync(FragmentWrite fragment, bool sync, CancellationToken cancellationToken = default) => inner.WriteAsync(fragment, sync, cancellationToken);

    public ValueTask SyncAsync(ReadOnlyMemory<FragmentTicket> tickets, CancellationToken cancellationToken = default) => inner.SyncAsync(tickets, cancellationToken);

    public ValueTask ReadAsync(FragmentAddress address, int offsetBytes, Memory<byte> destination, CancellationToken cancellationToken = default) => inner.ReadAsync(address, offsetBytes, destination, cancellationToken);

    public bool TryRead(FragmentAddress address, int offsetBytes, Span<byte> destination) => inner.TryRead(address, offsetBytes, destination);

    public ValueTask<FragmentDetails?> StatAsync(FragmentKey key, CancellationToken cancellationToken = default) => inner.StatAsync(key, cancellationToken);

    public ValueTask DeleteAsync(ReadOnlyMemory<FragmentKey> keys, CancellationToken cancellationToken = default) => inner.DeleteAsync(keys, cancellationToken);

    public ValueTask<FragmentPage> ListAsync(IReadOnlySet<int>? groups, FragmentKey? after, int maxEntries, CancellationToken cancellationToken = default) => inner.ListAsync(groups, after, maxEntries, cancellationToken);

    public ValueTask<DriveStatistics> GetStatisticsAsync(CancellationToken cancellationToken = default) => inner.GetStatisticsAsync(cancellationToken);

    public ValueTask DisposeAsync() => default;
}

using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Extents;

public sealed class ExtentStore : IExtentStore
{
    private ExtentStore(IClusterMap map, ExtentIdFactory ids)
    {
        ClusterMap = map;
        Ids = ids;
    }

    /// <summary>Opens every drive, recovers what a crash left behind, and starts the writers.</summary>
    /// <param name="nextRandom">64 random bits a call, thread-safe; ids and volume generations come from it.</param>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    /// <exception cref="DriveInUseException">Another process has one of the drives.</exception>
    /// <exception cref="DriveIdentityException">A folder is not a drive of this cluster.</exception>
    public static Task<ExtentStore> OpenAsync(StorageOptions options, TimeProvider time, Func<ulong> nextRandom, IStorageEvents? events = null, CancellationToken cancellationToken = default)
        => throw new NotImplementedException();

    public IClusterMap ClusterMap { get; }
    public ExtentIdFactory Ids { get; }
    public int PlacementGroupFor(ExtentId id) => ClusterMap.GroupOf(id).Value;
    public IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null) => throw new NotImplementedException();
    public ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) => throw new NotImplementedException();
    public IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes) => throw new NotImplementedException();
    public bool TryReadSmall(ExtentLayout layout, Span<byte> destination) => throw new NotImplementedException();
    public ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default) => throw new NotImplementedException();
    public IReadOnlyList<DriveStatistics> GetStatistics() => throw new NotImplementedException();
    public ValueTask DisposeAsync() => throw new NotImplementedException();
}

using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Extents;

/// <summary>The data plane over the drives of this process, with one copy of each fragment.</summary>
public sealed class ExtentStore : IExtentStore
{
    private readonly StorageOptions _options;
    private readonly Dictionary<Guid, DriveEngine> _engines;
    private readonly DriveEngine[] _all;
    private readonly AlignedBufferPool _blockBuffers;
    private readonly AlignedBufferPool _smallBuffers;
    private readonly ByteBudget _readBudget;
    private bool _disposed;

    private ExtentStore(StorageOptions options, Guid clusterId, List<DriveEngine> engines, IClusterMap map, ExtentIdFactory ids)
    {
        _options = options;
        ClusterId = clusterId;
        _all = [.. engines];
        _engines = engines.ToDictionary(engine => engine.DriveId);
        ClusterMap = map;
        Ids = ids;
        _blockBuffers = new AlignedBufferPool(VolumeFormat.PageBytes + options.BlockSizeBytes, maxRetained: 64);
        _readBudget = new ByteBudget(options.ReadBufferBytes, asynchronousContinuations: true);
        _smallBuffers = new AlignedBufferPool(VolumeFormat.PageBytes + Math.Min(VolumeFormat.MaxPackedPayloadBytes, options.BlockSizeBytes), maxRetained: 128);
    }

    public Guid ClusterId { get; }

    public IClusterMap ClusterMap { get; }

    public ExtentIdFactory Ids { get; }

    internal IReadOnlyList<DriveEngine> Engines => _all;

    /// <summary>Opens every drive, recovers what a crash left behind, and starts the writers.</summary>
    /// <param name="nextRandom">64 random bits a call, thread-safe; ids and volume generations come from it.</param>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    /// <exception cref="DriveInUseException">Another process has one of the drives.</exception>
    /// <exception cref="DriveIdentityException">A folder is not a drive of this cluster.</exception>
    public static Task<ExtentStore> OpenAsync(StorageOptions options, TimeProvider time, Func<ulong> nextRandom, IStorageEvents? events = null, CancellationToken cancellationToken = default)
    {
        options.Validate();
        return Task.Run(
            () =>
            {
                var drives = new List<IDrive>();
                try
                {
                    foreach (string path in options.DrivePaths)
                    {
                        cancellationToken.ThrowIfCancellationRequested();
                        drives.Add(new FileDrive(path, options.DirectIo));
                    }

                    return Open(drives, new EngineServices(options, time, nextRandom, events ?? NoStorageEvents.Instance, Threaded: true));
                }
                catch
                {
                    foreach (IDrive drive in drives)
                        drive.Dispose();
                    throw;
                }
            },
            cancellationToken);
    }

    /// <summary>Opens over given drives. Owns them once it returns.</summary>
    internal static ExtentStore Open(IReadOnlyList<IDrive> drives, EngineServices services)
    {
        List<DriveIdentity?> known = [.. drives.Select(drive => drive.ReadIdentity() is { } content ? DriveIdentity.Decode(content, drive.Path) : null)];
        Guid clusterId = services.Options.ClusterId ?? known.FirstOrDefault(identity => identity is not null)?.ClusterId ?? NewGuid(services.NextRandom);
        var engines = new List<DriveEngine>();
        try
        {
            for (int i = 0; i < drives.Count; i++)
            {
                DriveIdentity identity = known[i] ?? Format(drives[i], clusterId, services);
                if (identity.ClusterId != clusterId)
                    throw new DriveIdentityException(drives[i].Path, $"it belongs to cluster {identity.ClusterId}, this is {clusterId}.");
                if (engines.Any(engine => engine.DriveId == identity.DriveId))
                    throw new DriveIdentityException(drives[i].Path, $"drive {identity.DriveId} is here twice: one folder is a copy of another.");
                engines.Add(DriveEngine.Open(drives[i], identity, services));
            }
        }
        catch
        {
            foreach (DriveEngine engine in engines)
                engine.Dispose();
            throw;
        }

        var domain = new FailureDomain("region", "zone", "rack", "host");
        ClusterMap map = MapPlanner.Plan(null, [.. engines.Select(engine => new MappedDrive(engine.DriveId, Math.Max(1, engine.CapacityBytes >> 30), domain))], services.Options.PlacementGroups, [Scheme.SingleCopy]);
        return new ExtentStore(services.Options, clusterId, engines, map, new ExtentIdFactory(services.Time, services.NextRandom));
    }

    public int PlacementGroupFor(ExtentId id) => ClusterMap.GroupOf(id, 1).Value;

    public IExtentWriter CreateExtent(ExtentDescriptor descriptor, long? expectedLengthBytes = null)
    {
        Require(descriptor);
        return new ExtentWriter(EngineOf(descriptor.PlacementGroup), descriptor, expectedLengthBytes, _options, _blockBuffers, _smallBuffers);
    }

    public ValueTask<ExtentLayout> WriteAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default)
    {
        Require(descriptor);
        return bytes.Length <= Math.Min(VolumeFormat.MaxPackedPayloadBytes, _options.BlockSizeBytes)
            ? WriteSmallAsync(descriptor, bytes, cancellationToken)
            : WriteLargeAsync(descriptor, bytes, cancellationToken);
    }

    public IExtentReader OpenRead(ExtentLayout layout, long offsetBytes, long lengthBytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Require(layout);
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lengthBytes, layout.LengthBytes - offsetBytes);
        return new ExtentReader(this, layout, offsetBytes, lengthBytes, _blockBuffers, _readBudget);
    }

    public bool TryReadSmall(ExtentLayout layout, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (layout.LengthBytes > VolumeFormat.ChunkBytes)
            return false;
        Require(layout);
        destination = destination[..(int)layout.LengthBytes];
        var key = new FragmentKey(layout.Id, 0, 0);
        if (!TryLocate(layout.PlacementGroup, key, out DriveEngine engine, out FragmentLocation location, out Volume volume))
            throw new FragmentMissingException(layout.Id, 0, 0);
        if (location.PayloadBytes != destination.Length)
            throw engine.Corrupt(key, location, "its length is not that of the layout");
        RequirePlausible(engine, key, location);
        Span<byte> header = stackalloc byte[location.PayloadOffset];
        try
        {
            int read = volume.File.Read(location.Offset, header, destination, onlyIfCached: true);
            if (read < 0)
                return false;
            if (read < header.Length + destination.Length)
                throw engine.Corrupt(key, location, "the volume ends within it");
        }
        catch (IOException e)
        {
            throw engine.Corrupt(key, location, "the drive cannot read it", e);
        }
        catch (ObjectDisposedException)
        {
            throw new FragmentMissingException(layout.Id, 0, 0);
        }

        if (!RecordHeader.TryDecode(header, new RecordPlace(volume.Header.Generation, volume.Id, location.Offset), out RecordHeader record))
        {
            destination.Clear();
            throw engine.Corrupt(key, location, "its header is damaged");
        }

        RequireRecordOf(engine, key, location, record, destination.Length);
        if (destination.Length > 0 && Crc64Nvme.Compute(destination) != record.ChunkChecksum(header, 0))
        {
            destination.Clear();
            throw engine.Corrupt(key, location, "the checksum of its chunk does not match");
        }

        StorageMetrics.BytesRead.Add(destination.Length);
        return true;
    }

    public async ValueTask DeleteAsync(ExtentLayout layout, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);

        // Wherever it is: a drive that joined may have taken over the group since the extent was written.
        foreach (DriveEngine engine in _all)
            await engine.DeleteAsync(layout, cancellationToken).ConfigureAwait(false);
    }

    public IReadOnlyList<DriveStatistics> GetStatistics() => [.. _all.Select(engine => engine.GetStatistics())];

    /// <summary>Finishes what waits, brings the indexes up to date and releases the drives. Writers and readers of extents are disposed before.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await Task.Run(() =>
        {
            foreach (DriveEngine engine in _all)
                engine.Dispose();
        }).ConfigureAwait(false);
        _blockBuffers.Dispose();
        _smallBuffers.Dispose();
    }

    internal bool TryLocate(int placementGroup, FragmentKey key, out DriveEngine engine, out FragmentLocation location, out Volume volume)
    {
        engine = EngineOf(placementGroup);
        if (engine.TryLocate(key, out location, out volume))
            return true;
        foreach (DriveEngine other in _all)
        {
            if (other == engine || !other.TryLocate(key, out location, out volume))
                continue;
            engine = other;
            return true;
        }

        return false;
    }

    /// <summary>One step of every volume writer; false where none had work.</summary>
    internal bool Step()
    {
        bool worked = false;
        foreach (DriveEngine engine in _all)
            worked |= engine.Step();
        return worked;
    }

    /// <summary>The numbers come from the index's database, which nothing but SQLite guards: they are checked before they size a buffer.</summary>
    internal static void RequirePlausible(DriveEngine engine, FragmentKey key, FragmentLocation location)
    {
        if (location.PayloadOffset is < RecordHeader.MinBytes or > RecordHeader.MaxBytes || location.Offset < VolumeFormat.LogStart)
            throw engine.Corrupt(key, location, $"the index places its payload {location.PayloadOffset} bytes behind {location.Offset}, which cannot be");
    }

    internal static void RequireRecordOf(DriveEngine engine, FragmentKey key, FragmentLocation location, in RecordHeader record, int lengthBytes)
    {
        if (record.Kind != RecordKind.Fragment || record.Extent != key.Extent || record.Block != key.Block || record.Shard != key.Shard)
            throw engine.Corrupt(key, location, "another record is in its place");
        if (record.PayloadBytes != lengthBytes)
            throw engine.Corrupt(key, location, "its length is not that of the layout");
    }

    private async ValueTask<ExtentLayout> WriteSmallAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        DriveEngine engine = EngineOf(descriptor.PlacementGroup);
        WriteRequest request = engine.NewFragment(
            new FragmentWrite(descriptor, Scheme.SingleCopy, _options.BlockSizeBytes, 0, bytes.Length, 0, bytes, ExtentWriter.Checksums(bytes.Span)), needsSync: true);
        await engine.SubmitAsync(engine.PickWriter(), request, cancellationToken).ConfigureAwait(false);
        return new ExtentLayout(descriptor.Id, descriptor.PlacementGroup, 0, _options.BlockSizeBytes, bytes.Length);
    }

    private async ValueTask<ExtentLayout> WriteLargeAsync(ExtentDescriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        await using IExtentWriter writer = CreateExtent(descriptor, bytes.Length);
        while (!bytes.IsEmpty)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(room.Length, bytes.Length);
            bytes[..count].CopyTo(room);
            writer.Advance(count);
            bytes = bytes[count..];
            await writer.FlushIfFullAsync(cancellationToken).ConfigureAwait(false);
        }

        return await writer.CompleteAsync(cancellationToken).ConfigureAwait(false);
    }

    private DriveEngine EngineOf(int placementGroup) => _engines[ClusterMap.SlotsOf(new PlacementGroupId(placementGroup))[0].Drive!.Value];

    private void Require(ExtentDescriptor descriptor)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (descriptor.KeyUtf8.Length > ExtentDescriptor.MaxKeyBytes)
            throw new ArgumentException($"A key has at most {ExtentDescriptor.MaxKeyBytes} bytes.", nameof(descriptor));
        if (descriptor.PartNumber is < 0 or > ushort.MaxValue)
            throw new ArgumentException("A part number is 0 to 65535.", nameof(descriptor));
    }

    private static void Require(ExtentLayout layout)
    {
        if (layout.SchemeId != 0)
            throw new NotSupportedException($"Scheme {layout.SchemeId} is not known to this build.");
        if (layout.BlockSizeBytes < VolumeFormat.ChunkBytes || layout.BlockSizeBytes % VolumeFormat.ChunkBytes != 0 || layout.BlockSizeBytes > VolumeFormat.MaxBlockBytes)
            throw new ArgumentException($"A block of {layout.BlockSizeBytes} bytes cannot be.", nameof(layout));
    }

    private static DriveIdentity Format(IDrive drive, Guid clusterId, EngineServices services)
    {
        if (!services.Options.FormatNewDrives)
            throw new DriveIdentityException(drive.Path, "it has no drive.json, and new drives are not to be formatted (FormatNewDrives). Is the drive mounted?");
        if (drive.ListVolumes().Count > 0)
            throw new DriveIdentityException(drive.Path, "it has volumes but no drive.json.");
        var identity = new DriveIdentity(clusterId, NewGuid(services.NextRandom));
        drive.WriteIdentity(identity.Encode());
        return identity;
    }

    private static Guid NewGuid(Func<ulong> nextRandom)
    {
        Span<byte> bytes = stackalloc byte[16];
        BitConverter.TryWriteBytes(bytes, nextRandom());
        BitConverter.TryWriteBytes(bytes[8..], nextRandom());
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true);
    }
}

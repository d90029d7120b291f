using ObjectStore.Silo.Tests.Hosting;
using ObjectStore.Storage;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Tests.Fragments;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>The contract of a fragment store, over loopback HTTP.</summary>
public abstract class RemoteContractTests : FragmentStoreContract, IAsyncLifetime
{
    private readonly List<IAsyncDisposable> _owned = [];
    private readonly Dictionary<Guid, IFragmentStore> _behind = [];

    public ValueTask InitializeAsync() => default;

    public virtual async ValueTask DisposeAsync()
    {
        foreach (IAsyncDisposable owned in Enumerable.Reverse(_owned)) await owned.DisposeAsync();
    }

    protected abstract Task<IFragmentStore> OpenLocalAsync();

    protected override async Task<IFragmentStore> OpenAsync()
    {
        IFragmentStore local = await OpenLocalAsync();
        _owned.Add(local);
        ServedDrives served = await ServedDrives.StartAsync(null, null, local);
        _owned.Add(served);
        RemoteStorageNode node = await served.ConnectAsync();
        _owned.Add(node);
        _behind.Add(local.DriveId, local);
        return Assert.Single(node.Drives);
    }

    protected IFragmentStore Behind(IFragmentStore store) => _behind[store.DriveId];
}

/// <summary>Over a drive in memory.</summary>
public sealed class RemoteMemoryContractTests : RemoteContractTests
{
    protected override Task<IFragmentStore> OpenLocalAsync() => Task.FromResult<IFragmentStore>(new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System));

    protected override void Damage(IFragmentStore store, FragmentKey key, int offsetBytes) => Assert.True(((MemoryFragmentStore)Behind(store)).Corrupt(key, offsetBytes));
}

/// <summary>Over a drive of volumes in a folder.</summary>
public sealed class RemoteVolumeContractTests : RemoteContractTests
{
    private readonly TemporaryFolder _folder = new();
    private int _opened;

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        _folder.Dispose();
    }

    protected override async Task<IFragmentStore> OpenLocalAsync()
    {
        Random random = new(_opened);
        StorageOptions options = new() { DrivePaths = [_folder[$"drive{_opened++}"]], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0, WritersPerDrive = 2 };
        LocalDrives drives = await LocalDrives.OpenAsync(options, TimeProvider.System, () => Next(random), NoStorageEvents.Instance, Stop);
        return drives.Drives[0];
    }

    [Fact]
    public async Task SealedVolumes_AreVerifiedByTheNode()
    {
        IFragmentStore store = await OpenAsync();
        var verifier = (IVolumeVerifier)store;
        LocalFragmentStore local = (LocalFragmentStore)Behind(store);
        List<FragmentWrite> written = [];
        while (local.ListVolumes().Count(volume => volume.State == VolumeState.Sealed) < 2)
        {
            written.Add(Make(1 << 20));
            await store.WriteAsync(written[^1], sync: true, Stop);
            Assert.True(written.Count < 100);
        }

        IReadOnlyList<SealedVolume> volumes = await verifier.ListSealedVolumesAsync(Stop);
        Assert.Equal(await local.ListSealedVolumesAsync(Stop), volumes);
        foreach (SealedVolume volume in volumes)
        {
            VolumeVerification clean = (await verifier.VerifyVolumeAsync(volume.VolumeId, 0, Stop))!;
            Assert.Equal((volume.VolumeId, true, 0), (clean.VolumeId, clean.ChecksumMatches, clean.Damaged.Count));
            Assert.True(clean.Fragments > 0 && clean.BytesRead >= volume.LengthBytes);
        }

        FragmentWrite damaged = written.First(fragment => local.Engine.TryLocate(fragment.Key, out var location, out _) && location.VolumeId == volumes[0].VolumeId);
        Damage(store, damaged.Key, 70_000);
        VolumeVerification found = (await verifier.VerifyVolumeAsync(volumes[0].VolumeId, 1 << 30, Stop))!;
        Assert.False(found.ChecksumMatches);
        Assert.Equal(new FragmentEntry(damaged.Key, damaged.Descriptor.PlacementGroup, damaged.Scheme.Id, 1 << 20), Assert.Single(found.Damaged));
        Assert.True((await verifier.VerifyVolumeAsync(volumes[1].VolumeId, 0, Stop))!.ChecksumMatches);
        Assert.Null(await verifier.VerifyVolumeAsync(4711, 0, Stop));
    }

    protected override void Damage(IFragmentStore store, FragmentKey key, int offsetBytes)
    {
        LocalFragmentStore local = (LocalFragmentStore)Behind(store);
        Assert.True(local.Engine.TryLocate(key, out var location, out _));
        string file = Path.Combine(local.Path, "volumes", $"{location.VolumeId:D8}.vol");
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        byte[] one = new byte[1];
        RandomAccess.Read(handle, one, location.Offset + location.PayloadOffset + offsetBytes);
        one[0] ^= 0x10;
        RandomAccess.Write(handle, one, location.Offset + location.PayloadOffset + offsetBytes);
    }

    private static ulong Next(Random random)
    {
        lock (random) return (ulong)random.NextInt64(long.MinValue, long.MaxValue);
    }
}

using System.Diagnostics;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class ExtentStoreTests : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly Random _random = new(11);
    private readonly RecordedEvents _events = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Streams_OfEveryAwkwardLength_ReadBackInEveryRange()
    {
        await using ExtentStore store = await Open();
        foreach (int length in (int[])[0, 1, 4095, 4096, 65535, 65536, 65537, 131071, 131072, 131073, 1 << 20, (1 << 20) + 1, (3 << 20) + 12345, 8 << 20])
        {
            byte[] bytes = FaultTests.Bytes(_random, length);
            ExtentLayout streamed = await Stream(store, bytes, length % 2 == 0 ? length : null);
            ExtentLayout whole = await store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop);
            foreach (ExtentLayout layout in (ExtentLayout[])[streamed, whole])
            {
                Assert.Equal(length, layout.LengthBytes);
                for (int i = 0; i < 12; i++)
                {
                    int offset = i == 0 ? 0 : _random.Next(length + 1);
                    int count = i == 0 ? length : _random.Next(length - offset + 1);
                    byte[] read = await Read(store, layout, offset, count, i);
                    Assert.True(bytes.AsSpan(offset, count).SequenceEqual(read));
                }
            }
        }
    }

    [Fact]
    public async Task SmallReads_ReturnTheBytes_WithoutAReader()
    {
        await using ExtentStore store = await Open();
        byte[] bytes = FaultTests.Bytes(_random, 4096);
        ExtentLayout layout = await store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop);
        var read = new byte[4096];
        Assert.True(store.TryReadSmall(layout, read) || (await Read(store, layout, 0, 4096, 0)).CopyToReturning(read));
        Assert.Equal(bytes, read);
        Assert.False(store.TryReadSmall(await store.WriteAsync(FaultTests.Descriptor(store), new byte[65537], Stop), new byte[65537]));
    }

    [Fact]
    public async Task Extents_AfterRestart_AreThere_WithAndWithoutTheIndex()
    {
        var written = new List<(ExtentLayout Layout, byte[] Bytes)>();
        for (int round = 0; round < 4; round++)
        {
            await using (ExtentStore store = await Open())
            {
                foreach ((ExtentLayout layout, byte[] bytes) in written)
                    Assert.Equal(bytes, await Read(store, layout, 0, bytes.Length, 0));
                IEnumerable<Task> writes = Enumerable.Range(0, 40).Select(async i =>
                {
                    byte[] bytes;
                    lock (written)
                        bytes = FaultTests.Bytes(_random, i * 20_000);
                    ExtentLayout layout = await store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop);
                    lock (written)
                        written.Add((layout, bytes));
                });
                await Task.WhenAll(writes);
                await store.DeleteAsync(written[0].Layout, Stop);
                written.RemoveAt(0);
                Assert.Equal(written.Sum(item => item.Layout.BlockCount), store.GetStatistics()[0].LiveFragments);
            }

            if (round == 1)
                File.Delete(Path.Combine(_folder.Path, "index.db"));
            if (round == 2)
                File.WriteAllBytes(Path.Combine(_folder.Path, "index.db"), FaultTests.Bytes(_random, 20_000));
        }

        Assert.Equal(2, _events.Rebuilds);
    }

    [Fact]
    public async Task Deleted_Extents_StayDeleted_AndTheirVolumesGo()
    {
        var layouts = new List<ExtentLayout>();
        await using (ExtentStore store = await Open())
        {
            for (int i = 0; i < 40; i++)
                layouts.Add(await store.WriteAsync(FaultTests.Descriptor(store), new byte[1 << 20], Stop));
            foreach (ExtentLayout layout in layouts)
                await store.DeleteAsync(layout, Stop);
            await store.DeleteAsync(layouts[0], Stop);
        }

        // A store that is closing leaves what it has not yet reclaimed to the next start.
        await (await Open()).DisposeAsync();
        Assert.True(_events.VolumesDeleted >= 3);
        File.Delete(Path.Combine(_folder.Path, "index.db"));
        await using ExtentStore again = await Open();
        Assert.Equal(0, again.GetStatistics()[0].LiveFragments);
        foreach (ExtentLayout layout in layouts)
            await Assert.ThrowsAsync<ExtentLostException>(() => Read(again, layout, 0, 10, 0));
    }

    [Fact]
    public async Task Drive_InUse_IsRefused()
    {
        await using ExtentStore store = await Open();
        await Assert.ThrowsAsync<DriveInUseException>(Open);
    }

    [Fact]
    public async Task Drive_OfAnotherCluster_OrDamaged_IsRefused()
    {
        await (await Open()).DisposeAsync();
        var other = new StorageOptions { DrivePaths = [_folder.Path], ClusterId = new Guid("11111111-2222-3333-4444-555555555555") };
        await Assert.ThrowsAsync<DriveIdentityException>(() => ExtentStore.OpenAsync(other, TimeProvider.System, Random64, null, Stop));
        string identity = Path.Combine(_folder.Path, "drive.json");
        string text = await File.ReadAllTextAsync(identity, Stop);
        await File.WriteAllTextAsync(identity, text.Replace("\"formatVersion\": 1", "\"formatVersion\": 2"), Stop);
        await Assert.ThrowsAsync<DriveIdentityException>(Open);
        File.Delete(identity);
        var noFormat = new StorageOptions { DrivePaths = [_folder.Path], FormatNewDrives = false };
        await Assert.ThrowsAsync<DriveIdentityException>(() => ExtentStore.OpenAsync(noFormat, TimeProvider.System, Random64, null, Stop));
    }

    [Fact]
    public async Task TwoDrives_HaveACopyEach()
    {
        var options = new StorageOptions { DrivePaths = [Path.Combine(_folder.Path, "a"), Path.Combine(_folder.Path, "b")], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0 };
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, Random64, cancellationToken: Stop);
        for (int i = 0; i < 60; i++)
            await store.WriteAsync(FaultTests.Descriptor(store), new byte[100], Stop);
        Assert.All(store.GetStatistics(), drive => Assert.Equal(60, drive.LiveFragments));
    }

    [Fact]
    public async Task Location_ThatCannotBe_IsCorrupt()
    {
        ExtentLayout[] layouts = new ExtentLayout[3];
        Guid driveId;
        await using (ExtentStore store = await Open())
        {
            for (int i = 0; i < layouts.Length; i++)
                layouts[i] = await store.WriteAsync(FaultTests.Descriptor(store), new byte[1000], Stop);
            driveId = store.Engines[0].DriveId;
        }

        using (IndexDatabase database = IndexDatabase.Open(Path.Combine(_folder.Path, "index.db"), driveId, out _))
        {
            int[] offsets = [int.MaxValue, 0, 4097];
            for (int i = 0; i < layouts.Length; i++)
            {
                var key = new FragmentKey(layouts[i].Id, 0, 0);
                Assert.True(database.TryGet(key, out FragmentLocation location));
                database.Apply([KeyValuePair.Create(key, (FragmentLocation?)(location with { PayloadOffset = offsets[i] }))], [], [], [], durable: true);
            }
        }

        await using ExtentStore again = await Open();
        foreach (ExtentLayout layout in layouts)
        {
            Assert.False(again.TryReadSmall(layout, new byte[1000]));
            ExtentLostException lost = await Assert.ThrowsAsync<ExtentLostException>(() => Read(again, layout, 0, 1000, 0));
            Assert.IsType<FragmentCorruptException>(lost.InnerException);
        }
    }

    [Fact]
    public async Task Statistics_OfADriveThatIsGone_SayUnavailable()
    {
        var options = new StorageOptions { DrivePaths = [Path.Combine(_folder.Path, "deep", "drive")], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0 };
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, Random64, cancellationToken: Stop);
        Assert.Equal(DriveState.Healthy, store.GetStatistics()[0].State);
        string folder = options.DrivePaths[0];
        Directory.Move(folder, folder + "-moved");
        DriveStatistics statistics = store.GetStatistics()[0];
        Assert.Equal((DriveState.Unavailable, 0L, 0L), (statistics.State, statistics.CapacityBytes, statistics.FreeBytes));
        Directory.Move(folder + "-moved", folder);
        Assert.Equal(DriveState.Healthy, store.GetStatistics()[0].State);
    }

    [Fact]
    public async Task LargeWritesReadsAndRecovery_AreTraced()
    {
        var names = new System.Collections.Concurrent.ConcurrentBag<(string Name, string? Of)>();
        string drive = Path.Combine(_folder.Path, "traced");
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "ObjectStore.Storage",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = activity => names.Add((activity.OperationName, (activity.GetTagItem("objectstore.extent") ?? activity.GetTagItem("objectstore.path")) as string)),
        };
        ActivitySource.AddActivityListener(listener);
        var options = new StorageOptions { DrivePaths = [drive], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0 };
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, Random64, cancellationToken: Stop);
        ExtentLayout layout = await store.WriteAsync(FaultTests.Descriptor(store), new byte[1 << 20], Stop);
        await Read(store, layout, 0, 1 << 20, 0);
        ExtentLayout small = await store.WriteAsync(FaultTests.Descriptor(store), new byte[100], Stop);
        await Read(store, small, 0, 100, 0);
        Assert.Null(Activity.Current);
        string extent = layout.Id.ToString();
        (string, string?)[] own = [.. names.Where(item => item.Of == drive || item.Of == extent || item.Of == small.Id.ToString()).OrderBy(item => item.Name)];
        Assert.Equal([("storage.read", extent), ("storage.recovery", drive), ("storage.write", extent)], own);
    }

    [Fact]
    public void Options_OutOfRange_NameTheSetting()
        => Assert.Equal("BlockSizeBytes", Assert.Throws<StorageOptionsException>(() => new StorageOptions { DrivePaths = ["x"], BlockSizeBytes = 5 }.Validate()).Setting);

    [Fact]
    public void ExtentIds_Ascend()
    {
        var ids = new ExtentIdFactory(TimeProvider.System, Random64);
        ExtentId last = ids.Next();
        for (int i = 0; i < 20_000; i++)
        {
            ExtentId next = ids.Next();
            Assert.True(next.CompareTo(last) > 0);
            last = next;
        }
    }

    private static async Task<ExtentLayout> Stream(ExtentStore store, byte[] bytes, long? expected)
    {
        await using IExtentWriter writer = store.CreateExtent(FaultTests.Descriptor(store), expected);
        for (int done = 0; done < bytes.Length;)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(Math.Min(room.Length, 50_000), bytes.Length - done);
            bytes.AsMemory(done, count).CopyTo(room);
            writer.Advance(count);
            done += count;
            await writer.FlushIfFullAsync(Stop);
        }

        return await writer.CompleteAsync(Stop);
    }

    private static async Task<byte[]> Read(ExtentStore store, ExtentLayout layout, int offset, int count, int way)
    {
        var bytes = new byte[count];
        await using IExtentReader reader = store.OpenRead(layout, offset, count);
        int done = 0;
        while (done < count)
        {
            if (way % 3 == 2)
            {
                ReadOnlyMemory<byte> next = await reader.ReadNextAsync(Stop);
                next.CopyTo(bytes.AsMemory(done));
                done += next.Length;
                continue;
            }

            done += await reader.ReadAsync(bytes.AsMemory(done, Math.Min(count - done, way % 3 == 0 ? int.MaxValue : 10_000)), Stop);
        }

        Assert.Equal(0, await reader.ReadAsync(new byte[1], Stop));
        return bytes;
    }

    private Task<ExtentStore> Open()
        => ExtentStore.OpenAsync(new StorageOptions { DrivePaths = [_folder.Path], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0 }, TimeProvider.System, Random64, _events, Stop);

    private ulong Random64()
    {
        lock (_random)
            return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }
}

internal static class TestBytes
{
    public static bool CopyToReturning(this byte[] source, byte[] destination)
    {
        source.CopyTo(destination, 0);
        return true;
    }
}

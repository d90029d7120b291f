using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

/// <summary>Extents of a width that the map has no groups of yet, and extents that are newer than the map at hand.</summary>
public sealed class FirstExtentTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Write_OfTheFirstExtentOfAWidth_WaitsForItsGroups_AndAsksForNoOthers()
    {
        await using var pool = new Pool(12);
        ExtentStore store = pool.Store(12);
        Assert.Empty(store.ClusterMap.Widths);
        var reached = new TaskCompletionSource();
        var go = new TaskCompletionSource();
        pool.OnRequire = async () =>
        {
            reached.TrySetResult();
            await go.Task;
        };
        byte[] bytes = pool.Bytes(100);
        Task<ExtentLayout> writing = store.WriteAsync(Pool.Describe(store), bytes, Stop).AsTask();
        await reached.Task.WaitAsync(Stop);
        Assert.False(writing.IsCompleted);
        Assert.Equal(0, pool.Fragments);
        go.SetResult();
        ExtentLayout small = await writing;
        Assert.Equal([3], store.ClusterMap.Widths);
        Assert.Equal(3, pool.Fragments);
        Assert.Equal(bytes, await Pool.ReadAsync(store, small, Stop));

        // Once there, they are asked for no more; those of another width are.
        Assert.Equal(1, pool.Required);
        await store.WriteAsync(Pool.Describe(store), bytes, Stop);
        Assert.Equal(1, pool.Required);
        await store.WriteAsync(Pool.Describe(store), pool.Bytes(700_000), Stop);
        Assert.Equal([3, 9], store.ClusterMap.Widths);
        Assert.Equal(2, pool.Required);
    }

    [Fact]
    public async Task Write_WhenTheGroupsCannotBeHad_SaysSo_AndLeavesNothing()
    {
        await using var pool = new Pool(12);
        ExtentStore store = pool.Store(12);
        pool.OnRequire = () => throw new PlacementUnavailableException("injected");
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(100), Stop));
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(700_000), Stop));

        // An answer without the groups is none: never fewer shards than there are drives for.
        pool.OnRequire = null;
        pool.IsDeaf = true;
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(100), Stop));
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(700_000), Stop));
        store.MapOwner = null;
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(100), Stop));
        Assert.Equal(0, pool.Fragments);
        await store.Background.WhenIdleAsync().WaitAsync(Stop);
        Assert.Equal((0, 0L), (store.Buffers.Lent, store.WriteBudget.TakenBytes));
    }

    [Fact]
    public async Task Store_ThatDoesNotKnowTheMapYet_NeitherNarrowsSchemes_NorTakesExtentsForLostOrDeleted()
    {
        await using var pool = new Pool(1);
        ExtentStore written = pool.Store(1), store = pool.Store(0, ClusterMap.Unknown);
        byte[] bytes = pool.Bytes(100);
        ExtentLayout layout = await written.WriteAsync(Pool.Describe(written), bytes, Stop);
        pool.OnRefresh = () => throw new PlacementUnavailableException("injected");
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), bytes, Stop));
        Assert.Throws<PlacementUnavailableException>(() => store.CreateExtent(Pool.Describe(store)));
        Assert.False(store.TryReadSmall(layout, new byte[100]));
        await Assert.ThrowsAsync<PlacementUnavailableException>(() => Pool.ReadAsync(store, layout, Stop));
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.DeleteAsync(layout, Stop));
        Assert.Equal(1, pool.Fragments);
        Assert.Empty(((RecordedExtentEvents)store.Events).Narrowed);
        pool.OnRefresh = null;
        Assert.Equal(bytes, await Pool.ReadAsync(store, layout, Stop));
    }

    [Fact]
    public async Task Write_WhereNoDriveTakesWrites_SaysSo()
    {
        await using var pool = new Pool(3);
        ExtentStore store = pool.Store(3);
        pool.Use(0);
        await store.MapOwner!.RefreshAsync(Stop);
        Assert.Equal(0, store.ClusterMap.WritableDrives);
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await store.WriteAsync(Pool.Describe(store), pool.Bytes(100), Stop));
        Assert.Throws<PlacementUnavailableException>(() => store.CreateExtent(Pool.Describe(store)));
    }

    /// <summary>A width that is in the map stays: what has stored nothing must not have made one.</summary>
    [Fact]
    public async Task Extent_ThatIsGivenUpBeforeItsFirstBlockIsOnItsWay_AsksForNoGroups()
    {
        await using var pool = new Pool(12);
        ExtentStore store = pool.Store(12);
        int block = 6 * MemoryCluster.Settings().ShardSizeBytes;
        foreach ((int length, long? announced) in new (int, long?)[] { (block - 1, null), (block - 1, block - 1), (100, 100), (block - 1, 10L * block), (70_000, 200_000) })
        {
            await using (IExtentWriter given = store.CreateExtent(Pool.Describe(store), announced))
                await FillAsync(given, length);
            Assert.Equal((0, 0), (pool.Required, pool.Fragments));
        }

        await using IExtentWriter writer = store.CreateExtent(Pool.Describe(store), null);
        await FillAsync(writer, block);
        Assert.Equal(1, pool.Required);
        Assert.Equal([9], store.ClusterMap.Widths);
        await writer.CompleteAsync(Stop);
        Assert.Equal(9, pool.Fragments);

        async Task FillAsync(IExtentWriter into, int length)
        {
            for (int done = 0; done < length;)
            {
                int count = Math.Min(into.GetMemory().Length, length - done);
                into.Advance(count);
                done += count;
                await into.FlushIfFullAsync(Stop);
            }
        }
    }

    /// <summary>The drives of the pool change while the writer asks: its extent gets the scheme that the new map asks for, whatever had been received by then.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Write_WhenDrivesComeAndGoWhileItAsks_GetsTheSchemeOfTheNewMap_AndReadsBack(int seed)
    {
        var random = new Random(seed);
        for (int round = 0; round < 40; round++)
        {
            await using var pool = new Pool(16, seed * 100 + round);
            int before = random.Next(1, 17), after = random.Next(1, 17);
            ExtentStore store = pool.Store(before);
            pool.Use(after);
            int length = random.Next(4) switch { 0 => random.Next(0, 70_000), 1 => random.Next(60_000, 200_000), 2 => 65_536 * random.Next(1, 14), _ => random.Next(200_000, 2_000_000) };
            long? expected = random.Next(4) switch { 0 => null, 1 => length / 2, 2 => length + random.Next(1, 100_000), _ => length };
            string what = $"seed {seed}, round {round}: {before} drives, then {after}; {length} bytes, {expected} announced";
            byte[] bytes = pool.Bytes(length);
            ExtentLayout layout = await WriteAsync(store, random, bytes, expected);
            Assert.True(Scheme.TryFromId(layout.SchemeId, out Scheme scheme), what);
            ClassSchemes asked = store.Options.Schemes.For(SchemePolicy.Standard);
            Assert.True(scheme == asked.Small.Narrow(after) || scheme == asked.Large.Narrow(after), $"{what}: {scheme}");
            Assert.True(length < asked.SmallBelowBytes || scheme == asked.Large.Narrow(after), $"{what}: {scheme}");
            Assert.Equal(layout.BlockCount * scheme.Width, pool.Fragments);
            Assert.Equal(bytes, await Pool.ReadAsync(store, layout, Stop));
            Assert.Empty(MapRules.Check(store.ClusterMap));
            await store.Background.WhenIdleAsync().WaitAsync(Stop);
            Assert.Equal((0, 0L), (store.Buffers.Lent, store.WriteBudget.TakenBytes));
        }
    }

    [Fact]
    public async Task Read_AndDelete_OfAnExtentThatIsNewerThanTheMap_FetchTheNewestMap()
    {
        await using var pool = new Pool(12);
        ExtentStore writer = pool.Store(12), reader = pool.Store(12);
        byte[] small = pool.Bytes(100), large = pool.Bytes(700_000);
        ExtentLayout first = await writer.WriteAsync(Pool.Describe(writer), small, Stop), second = await writer.WriteAsync(Pool.Describe(writer), large, Stop);

        // Never taken for one that is not there.
        pool.OnRefresh = () => throw new PlacementUnavailableException("injected");
        Assert.False(reader.TryReadSmall(first, new byte[100]));
        await Assert.ThrowsAsync<PlacementUnavailableException>(() => Pool.ReadAsync(reader, second, Stop));
        await Assert.ThrowsAsync<PlacementUnavailableException>(async () => await reader.DeleteAsync(second, Stop));
        Assert.Equal(3 + (2 * 9), pool.Fragments);
        Assert.Equal((0, 0L), (reader.Buffers.Lent, reader.ReadBudget.TakenBytes));
        pool.OnRefresh = null;
        Assert.Equal(large, await Pool.ReadAsync(reader, second, Stop));
        Assert.Equal(small, await Pool.ReadAsync(reader, first, Stop));
        await pool.Store(12).DeleteAsync(second, Stop);
        Assert.Equal(3, pool.Fragments);
    }

    private static async Task<ExtentLayout> WriteAsync(ExtentStore store, Random random, byte[] bytes, long? expected)
    {
        if (expected == bytes.Length && random.Next(2) == 0)
            return await store.WriteAsync(Pool.Describe(store), bytes, Stop);
        await using IExtentWriter writer = store.CreateExtent(Pool.Describe(store), expected);
        for (int done = 0; done < bytes.Length;)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(Math.Min(room.Length, random.Next(1, 90_000)), bytes.Length - done);
            bytes.AsMemory(done, count).CopyTo(room);
            writer.Advance(count);
            done += count;
            await writer.FlushIfFullAsync(Stop);
        }

        return await writer.CompleteAsync(Stop);
    }

    /// <summary>The owner of the map of a pool, whose stores may know an older one.</summary>
    private sealed class Pool : IAsyncDisposable
    {
        private readonly Random _random;
        private readonly ManualTime _time = new();
        private readonly MemoryFragmentStore[] _drives;
        private readonly List<ExtentStore> _stores = [];
        private ClusterMap _map;

        public Pool(int drives, int seed = 1)
        {
            _random = new Random(seed);
            _drives = [.. Enumerable.Range(1, drives).Select(number => new MemoryFragmentStore(new Guid(number, 0, 0, new byte[8]), _time))];
            _map = MapPlanner.Plan(null, Mapped(drives), 8, []);
        }

        public Func<Task>? OnRequire { get; set; }

        public Action? OnRefresh { get; set; }

        /// <summary>Answers as if all were done, and does nothing.</summary>
        public bool IsDeaf { get; set; }

        public int Required { get; private set; }

        public int Fragments => _drives.Sum(drive => drive.Count);

        /// <summary>A store that knows the map of so many drives that take writes.</summary>
        public ExtentStore Store(int drives, ClusterMap? map = null)
        {
            var store = new ExtentStore(
                MemoryCluster.Settings(), new ExtentStoreServices(new FragmentStoreDirectory(_drives), _time, () => (ulong)_random.NextInt64(long.MinValue, long.MaxValue), new RecordedExtentEvents(), new RecordedRepairs()),
                map ?? MapPlanner.Plan(null, Mapped(drives), 8, []));
            store.MapOwner = new Owner(this, store);
            _stores.Add(store);
            return store;
        }

        public void Use(int drives) => _map = MapPlanner.Plan(_map, Mapped(drives), 8, []);

        public byte[] Bytes(int length)
        {
            var bytes = new byte[length];
            _random.NextBytes(bytes);
            return bytes;
        }

        public static ExtentDescriptor Describe(ExtentStore store) => new(store.Ids.Next(), 0, 7, "a/key"u8.ToArray(), 9, 1);

        public static async Task<byte[]> ReadAsync(ExtentStore store, ExtentLayout layout, CancellationToken stop)
        {
            var bytes = new byte[layout.LengthBytes];
            await using IExtentReader reader = store.OpenRead(layout, 0, layout.LengthBytes);
            for (int done = 0; done < bytes.Length;)
                done += await reader.ReadAsync(bytes.AsMemory(done), stop);
            return bytes;
        }

        public async ValueTask DisposeAsync()
        {
            foreach (ExtentStore store in _stores)
                await store.DisposeAsync();
        }

        private MappedDrive[] Mapped(int usable) => [.. _drives.Select((drive, number) => new MappedDrive(drive.DriveId, number < usable ? 1 : 0, MemoryCluster.Domain))];

        private sealed class Owner(Pool pool, ExtentStore store) : IMapOwner
        {
            public async ValueTask RequireGroupsAsync(Scheme scheme, CancellationToken cancellationToken = default)
            {
                pool.Required++;
                if (pool.OnRequire is { } first)
                    await first();
                if (pool.IsDeaf)
                    return;
                pool._map = MapPlanner.Plan(pool._map, pool._map.Drives, 8, [scheme]);
                store.UpdateMap(pool._map);
            }

            public ValueTask RefreshAsync(CancellationToken cancellationToken = default)
            {
                pool.OnRefresh?.Invoke();
                store.UpdateMap(pool._map);
                return default;
            }
        }
    }
}

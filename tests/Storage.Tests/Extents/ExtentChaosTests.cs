using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Tests.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class ExtentChaosTests(ITestOutputHelper output)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <summary>
    /// Callers at once over drives that delay, refuse, forget and damage at random, but never more of a block than the scheme survives: what was acknowledged reads identical until it is
    /// deleted, repair makes it whole by the notices alone, and nothing is held in the end.
    /// </summary>
    [Fact]
    public async Task RandomFaultsWithinTheScheme_NeverChangeAByte_AndRepairFollowsTheNotices()
    {
        int first = Environment.GetEnvironmentVariable("OBJECTSTORE_SEED") is { } text ? int.Parse(text, System.Globalization.CultureInfo.InvariantCulture) : Environment.TickCount & 0xFFFFF;
        output.WriteLine($"first seed {first} (set OBJECTSTORE_SEED to replay)");
        for (int seed = first; seed < first + 8; seed++)
        {
            Scheme large = new Scheme[] { new(6, 3), new(2, 2), new(4, 2) }[seed % 3];

            // One drive at a time misbehaves, so that a block never lacks more than the quorum allows. No drive counts as hanging: where this machine stops for seconds a good one would.
            StorageOptions settings = MemoryCluster.Settings(large: large);
            var options = new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = settings.ShardSizeBytes, BlockSizeBytes = settings.BlockSizeBytes, SlowDriveAfter = TimeSpan.FromHours(1) };
            await using var cluster = new MemoryCluster(large.Width, seed, options: options, groups: 2, clock: TimeProvider.System);
            MemoryFragmentStore bad = cluster.Drives[seed % cluster.Drives.Count];
            bad.Fault = async (operation, key, _) =>
            {
                int chance;
                lock (cluster.Random)
                    chance = cluster.Random.Next(10);
                await Task.Yield();
                if (chance == 0)
                    throw new DriveUnavailableException(bad.DriveId, "injected");
                if (chance == 1 && operation is FragmentOperation.Write)
                    throw new DriveFullException(bad.DriveId, 0, 1);
                if (chance == 2 && operation is FragmentOperation.Write or FragmentOperation.Sync)
                    throw new VolumePoisonedException(bad.DriveId, 1, null);
                if (chance == 3 && operation is FragmentOperation.Read)
                    throw new FragmentCorruptException(key!.Value.Extent, key.Value.Block, key.Value.Shard, bad.DriveId, 1, 0, "injected");
            };
            await Task.WhenAll(Enumerable.Range(0, 4).Select(caller => Task.Run(() => CallAsync(cluster, new Random((seed * 7) + caller), $"seed {seed}"), Stop)));
            await cluster.Store.Background.WhenIdleAsync();
            await cluster.AssertIdleAsync(Stop);
        }
    }

    [Fact]
    public async Task DamagedVolumes_OfAsManyRealDrivesAsTheSchemeSurvives_ReadIdentical_AndRepairWritesThemAnew()
    {
        using var folder = new TestFolder();
        var random = new Random(5);
        var options = new StorageOptions
        {
            DrivePaths = [.. Enumerable.Range(1, 5).Select(number => Path.Combine(folder.Path, $"drive{number}"))],
            Schemes = new SchemePolicy([KeyValuePair.Create(SchemePolicy.Standard, new ClassSchemes(Scheme.Copies(3), new Scheme(3, 2)))]),
            VolumeSizeBytes = 16 << 20,
            ShardSizeBytes = 128 << 10,
            WritersPerDrive = 1,
            HeadroomBytes = 0,
            PlacementGroups = 4,
        };
        var written = new List<(ExtentLayout Layout, byte[] Bytes)>();
        var events = new RecordedExtentEvents();
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, () => (ulong)random.NextInt64(), events, Stop);
        foreach (int length in (int[])[0, 1, 4096, 100_000, 131_071, 131_072, 400_000, 1_000_000, 3_000_001])
        {
            byte[] bytes = FaultTests.Bytes(random, length);
            written.Add((await store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop), bytes));
        }

        string[] volumes = [.. options.DrivePaths.Take(2).SelectMany(path => Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)).Where(file => new FileInfo(file).Length >= 16 << 20)];
        Assert.Equal(2, volumes.Length);
        foreach (string volume in volumes)
        {
            // Every 4 KiB of it, so that each payload of more than that is damaged.
            using FileStream file = new(volume, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            for (long at = 40_000; at < file.Length; at += 4096)
            {
                file.Position = at;
                int value = file.ReadByte();
                file.Position = at;
                file.WriteByte((byte)(value ^ 0x10));
            }
        }

        await AssertAllAsync();
        Assert.NotEmpty(events.Reconstructed);
        HashSet<Guid> bad = [.. store.Services.Drives.All.OfType<LocalFragmentStore>().Where(drive => options.DrivePaths.Take(2).Contains(drive.Path)).Select(drive => drive.DriveId)];
        Assert.Equal(2, bad.Count);
        foreach ((ExtentLayout layout, _) in written)
        {
            Assert.True(Scheme.TryFromId(layout.SchemeId, out Scheme scheme));
            ulong suspect = 0;
            IReadOnlyList<Storage.Placement.GroupSlot> slots = store.ClusterMap.SlotsOf(new(layout.PlacementGroup));
            for (int shard = 0; shard < scheme.Width; shard++)
            {
                if (bad.Contains(slots[shard].Drive!.Value))
                    suspect |= 1UL << shard;
            }

            for (int block = 0; block < layout.BlockCount; block++)
            {
                var work = new BlockRepair(layout.Id, layout.PlacementGroup, scheme, block, new ShardSet(suspect), ShardSet.All(scheme.Width));
                BlockRepairResult result = await store.Repairer.RepairAsync(work, Stop);
                Assert.Equal((BlockRepairStatus.Whole, new ShardSet(suspect)), (result.Status, result.Rebuilt));
            }
        }

        // Now the first two drives carry the reads, without the last two.
        var directory = (FragmentStoreDirectory)store.Services.Drives;
        IFragmentStore[] gone = [.. options.DrivePaths.Skip(3).Select(path => directory.All.OfType<LocalFragmentStore>().Single(drive => drive.Path == path))];
        foreach (IFragmentStore drive in gone)
            directory.Remove(drive.DriveId);
        await AssertAllAsync();
        foreach (IFragmentStore drive in gone)
            directory.Set(drive);

        async Task AssertAllAsync()
        {
            foreach ((ExtentLayout layout, byte[] bytes) in written)
            {
                await using IExtentReader reader = store.OpenRead(layout, 0, layout.LengthBytes);
                var read = new MemoryStream();
                while (await reader.ReadNextAsync(Stop) is { IsEmpty: false } piece)
                    read.Write(piece.Span);
                Assert.True(bytes.AsSpan().SequenceEqual(read.ToArray()), $"{layout.LengthBytes} bytes");
            }
        }
    }

    private static async Task CallAsync(MemoryCluster cluster, Random random, string when)
    {
        var written = new List<(ExtentLayout Layout, byte[] Bytes)>();
        for (int i = 0; i < 25; i++)
        {
            switch (random.Next(4))
            {
                case 0 or 1:
                    var bytes = new byte[random.Next(3) == 0 ? random.Next(2_000_000) : random.Next(5_000)];
                    random.NextBytes(bytes);
                    ExtentDescriptor descriptor;
                    lock (cluster.Random)
                        descriptor = cluster.Describe();
                    written.Add((await cluster.Store.WriteAsync(descriptor, bytes, Stop), bytes));
                    break;
                case 2 when written.Count > 0:
                    (ExtentLayout layout, byte[] expected) = written[random.Next(written.Count)];
                    int offset = random.Next(expected.Length + 1);
                    int count = random.Next(expected.Length - offset + 1);
                    byte[] read = await cluster.ReadAsync(layout, offset, count, Stop, random.Next(3));
                    Assert.True(expected.AsSpan(offset, count).SequenceEqual(read), when);
                    break;
                case 3 when written.Count > 0:
                    int at = random.Next(written.Count);
                    (ExtentLayout deleted, _) = written[at];
                    written.RemoveAt(at);
                    while (true)
                    {
                        try
                        {
                            await cluster.Store.DeleteAsync(deleted, Stop);
                            break;
                        }
                        catch (StorageException)
                        {
                            // The reclaimer would come again.
                        }
                    }

                    break;
            }
        }

        // By the notices alone, and with the drive well again, everything is on every drive.
        foreach ((ExtentLayout layout, byte[] expected) in written)
        {
            foreach (RepairNotice notice in cluster.Repairs.Recorded.Where(notice => notice.Extent == layout.Id))
            {
                for (int block = notice.FirstBlock; block < notice.FirstBlock + notice.BlockCount; block++)
                {
                    BlockRepairResult result;
                    do
                        result = await cluster.Store.Repairer.RepairAsync(new BlockRepair(notice.Extent, notice.PlacementGroup, notice.Scheme, block, default, notice.Shards), Stop);
                    while (result.Status is BlockRepairStatus.TargetsUnavailable or BlockRepairStatus.SourcesUnavailable);
                    Assert.True(result.Status == BlockRepairStatus.Whole, $"{when}: {result.Status}");
                }
            }

            Assert.True(Scheme.TryFromId(layout.SchemeId, out Scheme scheme));
            int fragments = cluster.Drives.Sum(drive => drive.Keys.Count(key => key.Extent == layout.Id));
            Assert.True(fragments == scheme.Width * layout.BlockCount, $"{when}: {fragments} fragments of {layout.BlockCount} blocks in {scheme}");
            Assert.Equal(expected, await cluster.ReadAsync(layout, Stop));
        }

    }
}

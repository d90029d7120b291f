using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class FaultTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task BitFlip_Anywhere_IsNeverReadAsData(bool loseIndex)
    {
        for (int seed = 1; seed <= 60; seed++)
        {
            using var simulation = new SimulatedStore(seed);
            var random = new Random(seed);
            var written = new List<(ExtentLayout Layout, byte[] Bytes)>();
            for (int i = 0; i < 20; i++)
            {
                byte[] bytes = Bytes(random, i % 5 == 0 ? random.Next(200_000) : random.Next(5_000));
                written.Add((await simulation.Write(bytes), bytes));
            }

            await simulation.Store.DisposeAsync();
            IReadOnlyList<long> volumes = simulation.Drive.ListVolumes();
            long volume = volumes[random.Next(volumes.Count)];
            simulation.Drive.FlipBit(volume, random.Next(simulation.Drive.Content(volume).AsSpan().LastIndexOfAnyExcept((byte)0) + 1), random.Next(8));
            await simulation.Restart(loseIndex);
            int corrupt = 0, missing = 0;
            foreach ((ExtentLayout layout, byte[] bytes) in written)
            {
                try
                {
                    Assert.Equal(bytes, await simulation.Read(layout));
                }
                catch (FragmentCorruptException)
                {
                    corrupt++;
                }
                catch (FragmentMissingException)
                {
                    missing++;
                }
            }

            Assert.InRange(corrupt + missing, 0, 1);

            // Only where the index is gone and the damage is to the very header that names the fragment can it be unknown; then recovery has said so.
            if (missing > 0)
                Assert.True(loseIndex && simulation.Events.VolumesCorrupt > 0, $"seed {seed}: missing instead of corrupt");
        }
    }

    [Fact]
    public async Task FullDrive_RefusesWrites_ServesReadsAndDeletes_AndRecovers()
    {
        using var simulation = new SimulatedStore(3, capacityBytes: 2 << 20);
        var random = new Random(3);
        var written = new List<(ExtentLayout Layout, byte[] Bytes)>();
        DriveFullException? full = null;
        while (full is null)
        {
            byte[] bytes = Bytes(random, 60_000);
            try
            {
                written.Add((await simulation.Write(bytes), bytes));
            }
            catch (DriveFullException e)
            {
                full = e;
            }
        }

        Assert.Equal(1, simulation.Events.Full);
        Assert.Equal(DriveState.Full, simulation.Store.GetStatistics()[0].State);
        Assert.All(written, item => Assert.Equal(item.Bytes, simulation.Read(item.Layout).GetAwaiter().GetResult()));
        simulation.Drive.CapacityBytes = 8 << 20;
        foreach ((ExtentLayout layout, _) in written)
            await simulation.Delete(layout);
        Assert.True(simulation.Events.VolumesDeleted > 0);
        for (int i = 0; i < 20; i++)
            await simulation.Write(Bytes(random, 60_000));
        Assert.Equal(DriveState.Healthy, simulation.Store.GetStatistics()[0].State);
        Assert.Equal(1, simulation.Events.SpaceAgain);
    }

    [Fact]
    public async Task FailedSync_PoisonsTheVolume_AndTheNextWriteGoesToAnother()
    {
        using var simulation = new SimulatedStore(4);
        byte[] before = Bytes(new Random(4), 1000);
        ExtentLayout kept = await simulation.Write(before);
        simulation.Drive.Faults = new FaultPlan { SyncErrorProbability = 1 };

        // Tried once more, on another volume, which cannot even be made.
        await Assert.ThrowsAsync<DriveUnavailableException>(() => simulation.Write(before));
        simulation.Drive.Faults = new FaultPlan();
        ExtentLayout after = await simulation.Write(before);
        Assert.Equal(before, await simulation.Read(kept));
        Assert.Equal(before, await simulation.Read(after));
        DriveStatistics statistics = simulation.Store.GetStatistics()[0];
        Assert.Equal((1, 2, DriveState.Degraded), (statistics.PoisonedVolumes, statistics.Volumes, statistics.State));
    }

    [Fact]
    public async Task UnreadableFragment_IsCorrupt_NotMissing()
    {
        using var simulation = new SimulatedStore(5);
        ExtentLayout layout = await simulation.Write(Bytes(new Random(5), 1000));
        simulation.Drive.Faults = new FaultPlan { ReadErrorProbability = 1 };
        await Assert.ThrowsAsync<FragmentCorruptException>(() => simulation.Read(layout));
        Assert.True(simulation.Events.Corrupt > 0);
    }

    [Fact]
    public async Task Abandoned_Extent_IsGarbage()
    {
        using var simulation = new SimulatedStore(6);
        IExtentWriter writer = simulation.Store.CreateExtent(Descriptor(simulation.Store));
        for (int i = 0; i < 3; i++)
        {
            int room = writer.GetMemory().Length;
            writer.Advance(room);
            await simulation.Finish(writer.FlushIfFullAsync(TestContext.Current.CancellationToken));
        }

        await simulation.Finish(writer.DisposeAsync());
        await simulation.Write(new byte[10]);
        while (simulation.Store.Step())
        {
        }

        DriveStatistics statistics = simulation.Store.GetStatistics()[0];
        Assert.Equal(1, statistics.LiveFragments);
        Assert.True(statistics.GarbageBytes > 3 * 64 << 10);
    }

    internal static ExtentDescriptor Descriptor(IExtentStore store)
    {
        ExtentId id = store.Ids.Next();
        return new ExtentDescriptor(id, store.ClusterMap.GroupOf(id, store.ClusterMap.Widths[0]).Value, 7, "a/key"u8.ToArray(), 9, 1);
    }

    internal static byte[] Bytes(Random random, int length)
    {
        var bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }
}

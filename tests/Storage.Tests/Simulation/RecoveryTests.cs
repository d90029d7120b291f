using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class RecoveryTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public async Task DamageInTheLastSyncedBatch_LosesOnlyTheDamagedRecord(int damaged)
    {
        using var simulation = new SimulatedStore(31);
        var random = new Random(31);
        byte[][] bytes = [.. Enumerable.Range(0, 5).Select(_ => FaultTests.Bytes(random, random.Next(2000, 6000)))];
        Task<ExtentLayout>[] writes = [.. bytes.Select(item => simulation.Store.WriteAsync(FaultTests.Descriptor(simulation.Store), item).AsTask())];
        simulation.Pump(Task.WhenAll(writes));
        ExtentLayout[] layouts = await Task.WhenAll(writes);
        Assert.True(simulation.Store.Engines[0].TryLocate(new FragmentKey(layouts[damaged].Id, 0, 0), out FragmentLocation location, out _));
        simulation.Drive.FlipBit(location.VolumeId, location.Offset + 40, 3);
        simulation.Crash(loseIndex: true);
        await Verify();
        Assert.Equal((0, 1), (simulation.Events.VolumesCorrupt, simulation.Events.Voided)); // nothing says that the batch had been synced

        // Neither sealing nor what is written later touches what was kept.
        await simulation.Write(bytes[0]);
        await simulation.Restart(loseIndex: true);
        await Verify();

        async Task Verify()
        {
            for (int i = 0; i < layouts.Length; i++)
            {
                if (i == damaged)
                    await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(layouts[i]));
                else
                    Assert.Equal(bytes[i], await simulation.Read(layouts[i]));
            }
        }
    }

    [Fact]
    public async Task DeletingRow_OfAnEarlierFile_DoesNotDeleteTheVolumeThatTookItsId()
    {
        using var simulation = new SimulatedStore(32);
        byte[] bytes = FaultTests.Bytes(new Random(32), 1000);
        ExtentLayout layout = await simulation.Write(bytes);
        Guid driveId = simulation.Store.Engines[0].DriveId;
        long id = Assert.Single(simulation.Drive.ListVolumes());
        await simulation.Store.DisposeAsync();
        using (IndexDatabase database = IndexDatabase.Open(simulation.IndexPath, driveId, out _))
        {
            VolumeRow row = Assert.Single(database.ReadVolumes());
            database.Apply([], [row with { Generation = row.Generation + 1, State = VolumeState.Deleting }], [], [], durable: true);
        }

        await simulation.Restart(loseIndex: false);
        Assert.Equal([id], simulation.Drive.ListVolumes());
        Assert.Equal(bytes, await simulation.Read(layout));
        Assert.Equal(1, simulation.Store.GetStatistics()[0].LiveFragments);
    }

    [Fact]
    public async Task FailedCreation_OfAVolume_DoesNotStopTheNext()
    {
        using var simulation = new SimulatedStore(33);
        byte[] bytes = FaultTests.Bytes(new Random(33), 1000);
        simulation.Drive.Faults = new FaultPlan { CreateErrorProbability = 1 };
        await Assert.ThrowsAsync<DriveUnavailableException>(() => simulation.Write(bytes));
        simulation.Drive.Faults = new FaultPlan();
        ExtentLayout layout = await simulation.Write(bytes);
        Assert.Equal(bytes, await simulation.Read(layout));
    }

    [Fact]
    public async Task FailedHeader_OfANewVolume_LeavesNoFile()
    {
        using var simulation = new SimulatedStore(34);
        simulation.Drive.Faults = new FaultPlan { WriteErrorProbability = 1 };
        await Assert.ThrowsAsync<DriveUnavailableException>(() => simulation.Write(new byte[1000]));
        Assert.Empty(simulation.Drive.ListVolumes());
        simulation.Drive.Faults = new FaultPlan();
        await simulation.Write(new byte[1000]);
    }
}

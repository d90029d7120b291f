using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class IndexTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Reader_ThatLosesTheRaceWithADelete_DoesNotBringTheLocationBack()
    {
        using var simulation = new SimulatedStore(41);
        DriveEngine engine = simulation.Store.Engines[0];
        ExtentLayout layout = await simulation.Write(new byte[1000]);
        ExtentLayout other = await simulation.Write(new byte[1000]);
        var key = new FragmentKey(layout.Id, 0, 0);
        Assert.True(engine.TryLocate(key, out FragmentLocation location, out Volume volume));
        engine.Maintain();
        engine.Index.Forget(key);

        // The delete comes between the reader's look into the database and its addition to the cache.
        engine.Index.Database.AfterRead = () =>
        {
            engine.Index.Database.AfterRead = null;
            simulation.Delete(layout).GetAwaiter().GetResult();
            engine.Maintain();
        };
        engine.Index.TryGet(key, out _);
        Assert.Null(engine.Index.Database.AfterRead);
        Assert.False(engine.Index.TryGet(key, out _));
        Assert.Equal(1, volume.LiveFragments);

        // Nor does another tombstone for the same record count again.
        await simulation.Finish(engine.SubmitAsync(engine.PickWriter(), engine.NewTombstone([new TombstoneEntry(key, location.VolumeId, location.Offset)], needsSync: true), CancellationToken.None));
        Assert.Equal(1, volume.LiveFragments);
        Assert.Equal(1000, (await simulation.Read(other)).Length);
    }

    [Fact]
    public async Task Copies_OfAFragmentWrittenSeveralTimes_AreAllNamed_WhereverTheIndexHasThem_AndNoOthers()
    {
        using var simulation = new SimulatedFragments(43, writers: 1);
        FragmentWrite write = simulation.Make(1000), neighbour = write with { Block = 1 };
        var places = new List<TombstoneEntry>();
        for (int copy = 0; copy < 4; copy++)
        {
            await simulation.Finish(simulation.Store.WriteAsync(write, true, Stop));
            await simulation.Finish(simulation.Store.WriteAsync(neighbour, true, Stop));
            Assert.True(simulation.Store.Engine.TryLocate(write.Key, out FragmentLocation location, out _));
            places.Add(new TombstoneEntry(write.Key, location.VolumeId, location.Offset));
            if (copy == 1)
                await FillAVolume();
            if (copy < 3)
                simulation.Store.Engine.Maintain(); // the last is in the table only, the others in the database
            Assert.Equal(places, Copies());
        }

        Assert.True(places.Select(place => place.VolumeId).Distinct().Count() > 1);
        await simulation.Finish(simulation.Store.DeleteAsync(new[] { write.Key }, Stop));
        Assert.Empty(Copies());
        Assert.Equal(neighbour.Payload.ToArray(), await simulation.Read(neighbour));
        await simulation.Restart(loseIndex: true);
        await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(write));
        Assert.Empty(Copies());
        Assert.Equal(neighbour.Payload.ToArray(), await simulation.Read(neighbour));

        List<TombstoneEntry> Copies()
        {
            var copies = new List<TombstoneEntry>();
            simulation.Store.Engine.Index.AddCopies(write.Key, copies);
            return [.. copies.OrderBy(place => place.VolumeId).ThenBy(place => place.Offset)];
        }

        async Task FillAVolume()
        {
            for (int i = 0; i < 12; i++)
                await simulation.Finish(simulation.Store.WriteAsync(simulation.Make(60_000), true, Stop));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task IndexFault_InADelete_LeavesTheVolumeAlone_AndTheNextStartRebuilds(bool damaged)
    {
        using var simulation = new SimulatedStore(42);
        DriveEngine engine = simulation.Store.Engines[0];
        ExtentLayout deleted = await simulation.Write(new byte[1000]);
        byte[] bytes = FaultTests.Bytes(new Random(42), 1000);
        ExtentLayout kept = await simulation.Write(bytes);
        engine.Maintain();
        int reads = 0; // the first is the delete's own look-up
        engine.Index.Database.AfterRead = () =>
        {
            if (++reads > 1)
                throw (damaged ? new IndexDamagedException("simulated damage") : new IOException("simulated SQLITE_IOERR"));
        };
        await simulation.Delete(deleted);
        engine.Index.Database.AfterRead = null;
        Assert.Equal(1, simulation.Events.IndexFailures);
        Assert.Equal(0, simulation.Events.Poisoned);
        await simulation.Write(new byte[1000]);

        await simulation.Restart(loseIndex: false);
        Assert.Equal(1, simulation.Events.Rebuilds);
        await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(deleted));
        Assert.Equal(bytes, await simulation.Read(kept));
        Assert.Equal(2, simulation.Store.GetStatistics()[0].LiveFragments);
        await simulation.Restart(loseIndex: false);
        Assert.Equal(1, simulation.Events.Rebuilds);
    }
}

using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Volumes;
using SQLitePCL;

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

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 2)]
    [InlineData(true, 2)]
    public async Task EndOfTheLog_ThatCannotBeRead_IsDamage_AndNeverWrittenOver(bool loseIndex, int page)
    {
        using var simulation = new SimulatedStore(35);
        var random = new Random(35);
        List<(ExtentLayout Layout, byte[] Bytes)> written = [];
        for (int i = 0; i < 5; i++)
        {
            byte[] bytes = FaultTests.Bytes(random, 20_000);
            written.Add((await simulation.Write(bytes), bytes));
        }

        // Not the last but one either: each is acknowledged by itself.
        FragmentKey last = new(written[^1].Layout.Id, 0, 0);
        Assert.True(simulation.Store.Engines[0].TryLocate(last, out FragmentLocation place, out _));
        long from = (place.Offset & ~4095L) + (page * 4096);
        simulation.Drive.Faults.IsUnreadable = (volume, offset, length) => volume == place.VolumeId && offset < from + 4096 && offset + length > from;
        simulation.Crash(loseIndex);
        Assert.True(simulation.Events.VolumesCorrupt > 0);
        foreach ((ExtentLayout layout, byte[] bytes) in written.SkipLast(1))
            Assert.Equal(bytes, await simulation.Read(layout));
        Exception unread = await Assert.ThrowsAnyAsync<StorageException>(() => simulation.Read(written[^1].Layout));
        if (page > 0)
            Assert.IsNotType<FragmentMissingException>(unread); // its header says that it was there
        for (int i = 0; i < 5; i++)
        {
            byte[] bytes = FaultTests.Bytes(random, 20_000);
            written.Add((await simulation.Write(bytes), bytes));
        }

        // The drive has come to itself.
        simulation.Drive.Faults = new FaultPlan();
        await simulation.Restart(loseIndex: true);
        foreach ((ExtentLayout layout, byte[] bytes) in written)
            Assert.Equal(bytes, await simulation.Read(layout));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task SyncThatFailsInRecovery_IsNoRecovery_AndWhatItLostIsNotInTheIndex(int seed)
    {
        var random = new Random(seed);
        bool wasUnsynced = false;
        for (int step = 1; !wasUnsynced; step++)
        {
            using var simulation = new SimulatedStore(seed);
            byte[] first = FaultTests.Bytes(random, 20_000), second = FaultTests.Bytes(random, 30_000);
            ExtentLayout kept = await simulation.Write(first);
            ExtentDescriptor descriptor = FaultTests.Descriptor(simulation.Store);
            simulation.Drive.Faults = new FaultPlan { PowerCutBeforeOperation = simulation.Drive.Operations + step };
            Task<ExtentLayout> writing = simulation.Store.WriteAsync(descriptor, second, TestContext.Current.CancellationToken).AsTask();
            await Assert.ThrowsAnyAsync<Exception>(() => simulation.Finish(new ValueTask<ExtentLayout>(writing)));
            simulation.Kill();
            wasUnsynced = simulation.Drive.HasUnsynced;
            simulation.Drive.Faults.SyncErrorProbability = 1;
            if (!wasUnsynced)
            {
                simulation.Kill();
                simulation.Start();
                continue;
            }

            Assert.Throws<DriveIdentityException>(simulation.Open);
            simulation.Drive.Kill();
            simulation.Start();
            Assert.Equal(first, await simulation.Read(kept));
            long before = simulation.Store.GetStatistics()[0].LiveFragments;
            simulation.Crash(loseIndex: false);
            Assert.Equal(before, simulation.Store.GetStatistics()[0].LiveFragments);
            simulation.Crash(loseIndex: true);
            Assert.Equal(before, simulation.Store.GetStatistics()[0].LiveFragments);
            Assert.Equal(first, await simulation.Read(kept));
        }
    }

    [Fact]
    public async Task VolumeWhoseFileIsGone_IsDamage_NotAnAbsence_AndListedNoMore()
    {
        using var simulation = new SimulatedStore(36);
        byte[] bytes = FaultTests.Bytes(new Random(36), 1000);
        ExtentLayout layout = await simulation.Write(bytes);
        long id = Assert.Single(simulation.Drive.ListVolumes());
        await simulation.Store.DisposeAsync();
        simulation.Drive.DeleteVolume(id);
        for (int start = 0; start < 2; start++)
        {
            simulation.Start();
            await Assert.ThrowsAsync<FragmentCorruptException>(() => simulation.Read(layout));
            IFragmentStore drive = simulation.Store.Services.Drives.All.Single();
            Assert.Empty((await drive.ListAsync(null, null, 10, TestContext.Current.CancellationToken)).Entries);
            if (start == 0)
                await simulation.Store.DisposeAsync();
        }

        // Deleted, it is forgotten with its volume.
        await simulation.Delete(layout);
        await simulation.Restart(loseIndex: false);
        await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(layout));
        await simulation.Restart(loseIndex: false);
        Assert.Empty(simulation.Store.Engines[0].Index.Unreadable);
    }

    [Theory]
    [InlineData("tombstone_target")]
    [InlineData("superseded")]
    [InlineData("fragment")]
    public async Task IndexThatIsDamagedAnywhere_IsBuiltAnew(string table)
    {
        using var simulation = new SimulatedStore(37);
        byte[] bytes = FaultTests.Bytes(new Random(37), 1000);
        ExtentLayout layout = await simulation.Write(bytes);
        await simulation.Store.DisposeAsync();
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_open_v2(simulation.IndexPath, out sqlite3 connection, raw.SQLITE_OPEN_READWRITE, null));
        long root, pageBytes;
        using (connection)
        {
            root = Number(connection, $"SELECT rootpage FROM sqlite_master WHERE name = '{table}'");
            pageBytes = Number(connection, "PRAGMA page_size");
            raw.sqlite3_wal_checkpoint_v2(connection, "main", raw.SQLITE_CHECKPOINT_TRUNCATE, out _, out _);
        }

        using (FileStream file = new(simulation.IndexPath, FileMode.Open, FileAccess.Write))
        {
            file.Position = (root - 1) * pageBytes;
            file.Write(Enumerable.Repeat((byte)0xFF, (int)pageBytes).ToArray());
        }

        simulation.Start();
        Assert.Equal(1, simulation.Events.Rebuilds);
        Assert.Equal(bytes, await simulation.Read(layout));
    }

    [Fact]
    public async Task IndexThatCannotBeRead_WhereItIsOpened_IsBuiltAnew()
    {
        using var simulation = new SimulatedStore(38);
        byte[] bytes = FaultTests.Bytes(new Random(38), 1000);
        ExtentLayout layout = await simulation.Write(bytes);
        await simulation.Store.DisposeAsync();
        int steps = 0;
        var services = new EngineServices(new StorageOptions { DrivePaths = ["simulated"], WritersPerDrive = 1 }, TimeProvider.System, () => 1, simulation.Events, Threaded: false)
        {
            OnRecoveryStep = () =>
            {
                if (steps++ == 0)
                    throw IndexDatabase.Failure(raw.SQLITE_IOERR_READ, "simulated", isOpening: false);
            },
        };
        DriveEngine.Open(simulation.Drive, DriveIdentity.Decode(simulation.Drive.ReadIdentity(), "simulated"), services).Dispose();
        Assert.Equal(1, simulation.Events.Rebuilds);
        simulation.Start();
        Assert.Equal(bytes, await simulation.Read(layout));
    }

    [Theory]
    [InlineData(raw.SQLITE_CANTOPEN, true, typeof(IOException))]
    [InlineData(raw.SQLITE_NOMEM, true, typeof(IOException))]
    [InlineData(raw.SQLITE_ERROR, true, typeof(IOException))]
    [InlineData(raw.SQLITE_ERROR, false, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_NOTADB, true, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_CORRUPT, false, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_IOERR | (33 << 8), true, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_IOERR | (33 << 8), false, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_IOERR_READ, true, typeof(IndexUnreadableException))]
    [InlineData(raw.SQLITE_IOERR_READ, false, typeof(IndexUnreadableException))]
    [InlineData(raw.SQLITE_IOERR_FSYNC, false, typeof(IndexDamagedException))]
    [InlineData(raw.SQLITE_IOERR_WRITE, false, typeof(IOException))]
    [InlineData(raw.SQLITE_FULL, false, typeof(IOException))]
    public void IndexFailure_IsDamage_OnlyWhereTheContentIsAtFault(int extended, bool isOpening, Type expected)
        => Assert.IsType(expected, IndexDatabase.Failure(extended, "test", isOpening));

    [Fact]
    public void IndexWhoseFirstPageCannotBeRead_IsDamaged()
    {
        Assert.SkipUnless(File.Exists("/proc/self/mem"), "there is no file at hand whose beginning cannot be read");
        using var folder = new TestFolder();
        string path = Path.Combine(folder.Path, "index.db");
        File.CreateSymbolicLink(path, "/proc/self/mem"); // nothing is mapped at 0: EIO
        Assert.Throws<IndexDamagedException>(() => IndexDatabase.Open(path, Guid.NewGuid(), out _));
    }

    private static long Number(sqlite3 connection, string query)
    {
        Assert.Equal(raw.SQLITE_OK, raw.sqlite3_prepare_v2(connection, query, out sqlite3_stmt statement));
        using (statement)
        {
            Assert.Equal(raw.SQLITE_ROW, raw.sqlite3_step(statement));
            return raw.sqlite3_column_int64(statement, 0);
        }
    }
}

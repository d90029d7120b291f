using System.Diagnostics.Metrics;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class WriterTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task SyncOnly_BeforeThereIsAVolume_DoesNotHarmTheWriteBehindIt()
    {
        using var simulation = new SimulatedStore(21);
        DriveEngine engine = simulation.Store.Engines[0];
        WriteRequest sync = engine.NewSync();
        Task<WriteTicket> synced = engine.SubmitAsync(engine.PickWriter(), sync, Stop).AsTask();
        byte[] bytes = FaultTests.Bytes(new Random(21), 1000);
        Task<ExtentLayout> written = simulation.Store.WriteAsync(FaultTests.Descriptor(simulation.Store), bytes, Stop).AsTask();
        simulation.Pump(written);
        await synced;
        Assert.Equal(bytes, await simulation.Read(await written));
    }

    [Fact]
    public void Meter_CountsFragments_AndNeitherSyncsNorDeletes()
    {
        // The writers of this store run on this thread, and those of other tests on others.
        int thread = Environment.CurrentManagedThreadId;
        var counted = new Dictionary<string, List<long>> { ["objectstore.storage.fragments.written"] = [], ["objectstore.storage.batch.fragments"] = [] };
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == StorageMetrics.MeterName && counted.ContainsKey(instrument.Name))
                self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) => Note(instrument, value));
        listener.SetMeasurementEventCallback<int>((instrument, value, _, _) => Note(instrument, value));
        using var simulation = new SimulatedStore(23);
        listener.Start();
        DriveEngine engine = simulation.Store.Engines[0];
        ExtentDescriptor[] descriptors = [.. Enumerable.Range(0, 2).Select(_ => FaultTests.Descriptor(simulation.Store))];
        Task<ExtentLayout>[] writes = [.. descriptors.Select(descriptor => simulation.Store.WriteAsync(descriptor, new byte[1000], Stop).AsTask())];
        Task synced = engine.SubmitAsync(engine.PickWriter(), engine.NewSync(), Stop).AsTask();
        Task all = Task.WhenAll([.. writes, synced]);
        simulation.Pump(all);
        Assert.True(all.IsCompletedSuccessfully);
        simulation.Pump(engine.DeleteAsync([new FragmentKey(descriptors[0].Id, 0, 0)], Stop).AsTask());
        simulation.Pump(engine.SubmitAsync(engine.PickWriter(), engine.NewSync(), Stop).AsTask());
        Assert.All(counted.Values, values => Assert.Equal(2, values.Sum()));
        Assert.DoesNotContain(0, counted["objectstore.storage.batch.fragments"]);

        void Note(Instrument instrument, long value)
        {
            if (Environment.CurrentManagedThreadId == thread)
                counted[instrument.Name].Add(value);
        }
    }

    [Fact]
    public async Task UnforeseenFault_OnTheWriterThread_FailsTheWritesAndNotTheProcess()
    {
        using var folder = new TestFolder();
        var drive = new SimulatedDrive(22, 64 << 20, Path.Combine(folder.Path, "index.db"));
        var options = new StorageOptions { DrivePaths = ["simulated"], VolumeSizeBytes = 512 << 10, BlockSizeBytes = 64 << 10, WritersPerDrive = 1, HeadroomBytes = 0 };
        var random = new Random(22);
        ExtentStore store = ExtentStore.Open([drive], new EngineServices(options, TimeProvider.System, () => (ulong)random.NextInt64(), NoStorageEvents.Instance, Threaded: true));
        await store.WriteAsync(FaultTests.Descriptor(store), new byte[1000], Stop);

        // The simulated power cut is no IOException: the writer has no plan for it.
        drive.Faults = new FaultPlan { PowerCutBeforeOperation = drive.Operations };
        for (int i = 0; i < 2; i++)
        {
            WriteQuorumException failed = await Assert.ThrowsAsync<WriteQuorumException>(() => store.WriteAsync(FaultTests.Descriptor(store), new byte[1000], Stop).AsTask());
            Assert.IsType<VolumeWriterException>(failed.InnerException);
        }

        drive.PowerCut();
        ExtentLayout layout = await store.WriteAsync(FaultTests.Descriptor(store), new byte[1000], Stop);
        Assert.Equal(1000, layout.LengthBytes);
        Assert.Equal(1, store.GetStatistics()[0].PoisonedVolumes);
        await store.DisposeAsync();
    }

    [Fact(Timeout = 120_000)]
    public async Task Writers_ThatWaitForTheIndex_AreAllWoken()
    {
        using var folder = new TestFolder();
        var options = new StorageOptions
        {
            DrivePaths = [folder.Path],
            VolumeSizeBytes = 16 << 20,
            WritersPerDrive = 4,
            HeadroomBytes = 0,
            IndexFlushEntries = 1,
            WriterQueueBytes = 2 << 20,
            IndexFlushInterval = TimeSpan.FromHours(1), // no second chance: a wake-up that is lost is a hang
        };
        var random = new Random(24);
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, Random64, cancellationToken: Stop);
        var bytes = new byte[100 << 10];
        await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => Task.Run(
            async () =>
            {
                for (int i = 0; i < 12; i++)
                    await store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop);
            },
            Stop)));
        Assert.Equal(64 * 12, store.GetStatistics()[0].LiveFragments);

        ulong Random64()
        {
            lock (random)
                return (ulong)random.NextInt64();
        }
    }

    [Fact]
    public async Task LargeUploads_ThroughAFullQueue_AllSucceed()
    {
        using var folder = new TestFolder();
        var options = new StorageOptions { DrivePaths = [folder.Path], VolumeSizeBytes = 64 << 20, WriterQueueBytes = 2 << 20, WritersPerDrive = 1, HeadroomBytes = 0 };
        var random = new Random(23);
        await using ExtentStore store = await ExtentStore.OpenAsync(options, TimeProvider.System, Random64, cancellationToken: Stop);
        var bytes = new byte[6 << 20];
        for (int round = 0; round < 3; round++)
            await Task.WhenAll(Enumerable.Range(0, 24).Select(_ => Task.Run(() => store.WriteAsync(FaultTests.Descriptor(store), bytes, Stop).AsTask(), Stop)));
        Assert.Equal(3 * 24 * 6, store.GetStatistics()[0].LiveFragments);

        ulong Random64()
        {
            lock (random)
                return (ulong)random.NextInt64();
        }
    }
}

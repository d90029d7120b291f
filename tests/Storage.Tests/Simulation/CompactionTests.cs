using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Tests.Extents;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Simulation;

public sealed class CompactionTests
{
    private static readonly CompactionOptions Unlimited = new() { BytesPerSecond = 0 };

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(40_000, 300)]
    [InlineData(1_000, 3000)]
    public async Task DriveUse_AfterDeletingNineTenths_IsAtMostATenthMoreThanWhatLives(int length, int count)
    {
        using var simulation = new SimulatedFragments(51, writers: 1);
        List<FragmentWrite> live = await Fill(simulation, count, length);
        await simulation.Finish(simulation.Store.DeleteAsync(live.Where((_, i) => i % 10 != 0).Select(write => write.Key).ToArray(), Stop));
        live = [.. live.Where((_, i) => i % 10 == 0)];
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { MinActiveGarbageBytes = 1 }, Stop));
        Assert.True(report.VolumesEmptied > 3 && report.FreedBytes > 0 && report.FragmentsMoved > 0, report.ToString());
        IReadOnlyList<VolumeInfo> volumes = simulation.Store.ListVolumes();
        long payload = live.Sum(write => (long)write.Payload.Length);
        Assert.InRange(volumes.Sum(volume => volume.LogBytes), payload, payload * 12 / 10);
        Assert.Equal(live.Count, volumes.Sum(volume => volume.LiveFragments));
        await Verify(simulation, live);
        foreach (bool loseIndex in (bool[])[false, true])
        {
            await simulation.Restart(loseIndex);
            await Verify(simulation, live);
            Assert.Equal(live.Count, (await simulation.Store.GetStatisticsAsync(Stop)).LiveFragments);
        }

        // And there is nothing left to do.
        report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        Assert.Equal((0, 0L), (report.VolumesEmptied, report.FragmentsMoved));
    }

    [Fact]
    public async Task PaddingOfManySyncs_IsGarbageToo()
    {
        using var simulation = new SimulatedFragments(52, writers: 1);
        var live = new List<FragmentWrite>();
        for (int i = 0; i < 300; i++)
        {
            live.Add(simulation.Make(1000));
            await simulation.Finish(simulation.Store.WriteAsync(live[^1], true, Stop)); // a page each
        }

        Assert.True(simulation.Store.ListVolumes().Sum(volume => volume.LogBytes) > 300 * 4096);
        await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { MinActiveGarbageBytes = 1 }, Stop));
        Assert.True(simulation.Store.ListVolumes().Sum(volume => volume.LogBytes) < 300 * 1200);
        await Verify(simulation, live);
    }

    [Fact]
    public async Task PaddingInAVolumeThatIsWrittenTo_IsGivenBackOnceNothingHasComeForHalfAMinute()
    {
        var time = new ManualTime();
        using var simulation = new SimulatedFragments(58, writers: 1, volumeSizeBytes: 4 << 20, time: time);
        var live = new List<FragmentWrite>();
        for (int i = 0; i < 30; i++)
            await Write();
        Assert.Equal(0, await Compact());
        time.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(0, await Compact());
        await Write();
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(0, await Compact());
        time.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(0, await Compact());
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(1, await Compact());
        Assert.InRange(simulation.Store.ListVolumes().Sum(volume => volume.LogBytes), 1, 31 * 1200);
        await Verify(simulation, live);

        // What is packed now is left alone.
        time.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal(0, await Compact());
        time.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal(0, await Compact());

        async Task Write()
        {
            live.Add(simulation.Make(1000));
            await simulation.Finish(simulation.Store.WriteAsync(live[^1], true, Stop)); // a page each
        }

        async Task<int> Compact() => (await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop))).VolumesEmptied;
    }

    [Fact]
    public async Task Copies_DoNotHideThePaddingOfTheVolumeTheyWouldGoTo()
    {
        using var simulation = new SimulatedFragments(60, writers: 1, volumeSizeBytes: 4 << 20, time: new ManualTime());
        var live = new List<FragmentWrite>();
        for (int i = 0; i < 1060; i++)
        {
            live.Add(simulation.Make(1000));
            await simulation.Finish(simulation.Store.WriteAsync(live[^1], true, Stop)); // a page each: one full volume and the beginning of another
        }

        Assert.Equal([VolumeState.Sealed, VolumeState.Active], simulation.Store.ListVolumes().OrderBy(volume => volume.VolumeId).Select(volume => volume.State));
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        Assert.Equal(2, report.VolumesEmptied);
        Assert.InRange(simulation.Store.ListVolumes().Sum(volume => volume.LogBytes), 1, 1060 * 1140);
        await Verify(simulation, live);
    }

    [Fact]
    public async Task SeveralRuns_LeaveAloneWhatTheyHaveWritten_AndEndThoughClientsGoOnWriting()
    {
        using var simulation = new SimulatedFragments(61, writers: 1, time: new ManualTime());
        var written = new List<FragmentWrite>();
        await WriteAsync(200);
        long last = simulation.Store.ListVolumes().Max(volume => volume.VolumeId);
        int emptied = 0, runs = 0;
        for (bool more = true; more; runs++)
        {
            Assert.True(runs <= last, "It goes on and on.");
            int volumes = (await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { MaxVolumes = 1, LastVolumeId = last }, Stop))).VolumesEmptied;
            emptied += volumes;
            more = volumes > 0;
            await WriteAsync(100);
        }

        Assert.InRange(emptied, 1, (int)last);
        Assert.All(simulation.Store.ListVolumes(), volume => Assert.True(volume.VolumeId >= last));
        await Verify(simulation, written);

        async Task WriteAsync(int count)
        {
            for (int i = 0; i < count; i++)
            {
                written.Add(simulation.Make(1000));
                await simulation.Finish(simulation.Store.WriteAsync(written[^1], true, Stop)); // a page each: three quarters are garbage
            }
        }
    }

    [Fact]
    public async Task Index_IsNotLargerAfterCompactionThanBefore()
    {
        using var simulation = new SimulatedFragments(59, writers: 1, volumeSizeBytes: 16 << 20);
        List<FragmentWrite> live = await Fill(simulation, 5000, 1000);
        await simulation.Restart(loseIndex: false);
        long before = simulation.IndexBytes;
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { GarbageRatio = 0, MinActiveGarbageBytes = 0 }, Stop));
        Assert.True(report.FragmentsMoved > 4000, report.ToString());
        await simulation.Restart(loseIndex: false);
        Assert.InRange(simulation.IndexBytes, 1, before * 11 / 10);
        await Verify(simulation, live);
    }

    [Fact]
    public async Task DamagedFragment_IsNotCopied_AndItsVolumeStaysUntilRepairHasReplacedIt()
    {
        using var simulation = new SimulatedFragments(53, writers: 1);
        List<FragmentWrite> written = await Fill(simulation, 30, 40_000);
        FragmentWrite[] damaged = [written[0], written[5]];
        List<FragmentWrite> live = [.. written.Where((_, i) => i % 5 == 0)];
        await simulation.Finish(simulation.Store.DeleteAsync(written.Except(live).Select(write => write.Key).ToArray(), Stop));
        Flip(simulation, damaged[0], payload: true);
        Flip(simulation, damaged[1], payload: false);
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        Assert.Equal(2, report.CorruptFragments);
        Assert.InRange(report.VolumesLeft, 1, 2);
        Assert.Equal(2, simulation.Events.Corrupt);
        await Verify(simulation, live.Except(damaged));
        foreach (FragmentWrite write in damaged)
            await Assert.ThrowsAsync<FragmentCorruptException>(() => simulation.Read(write));

        // The same again finds nothing to do; repair then frees the volume without another run.
        report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        Assert.Equal((0L, 0L), (report.CorruptFragments, report.FragmentsMoved));
        int before = simulation.Events.VolumesDeleted;
        foreach (FragmentWrite write in damaged)
            await simulation.Finish(simulation.Store.WriteAsync(write, true, Stop));
        Assert.True(simulation.Events.VolumesDeleted > before);
        await simulation.Restart(loseIndex: true);
        await Verify(simulation, live);
    }

    [Theory]
    [InlineData(int.MaxValue)]
    [InlineData(2)]
    public async Task Tombstones_ThatCannotBeRead_KeepTheirVolume_AndThoseThatCanInTheEndAreCarried(int failures)
    {
        using var simulation = new SimulatedFragments(63, writers: 1);
        List<FragmentWrite> first = await Fill(simulation, 12, 40_000);
        await Fill(simulation, 1, 40_000);
        FragmentWrite[] deleted = [.. first.Take(2)];
        await simulation.Finish(simulation.Store.DeleteAsync(deleted.Select(write => write.Key).ToArray(), Stop));
        long tombstones = simulation.Store.ListVolumes().Max(volume => volume.VolumeId);
        VolumeInfo[] before = [.. simulation.Store.ListVolumes()];
        long end = VolumeFormat.LogStart + before.Single(volume => volume.VolumeId == tombstones).LogBytes;
        List<FragmentWrite> garbage = await Fill(simulation, 12, 40_000);
        await simulation.Finish(simulation.Store.DeleteAsync(garbage.Select(write => write.Key).ToArray(), Stop));
        Assert.Equal(VolumeState.Sealed, simulation.Store.ListVolumes().Single(volume => volume.VolumeId == tombstones).State);
        Assert.True(first.Except(deleted).All(write => simulation.Store.Engine.TryLocate(write.Key, out FragmentLocation location, out _) && location.VolumeId == 1));

        // The last page before the garbage, by itself and with others.
        int left = failures;
        simulation.Drive.Faults.IsUnreadable = (volume, offset, length) => volume == tombstones && offset <= end - 4096 && offset + length >= end && left > 0 && (length > 4096 || left-- > 0);
        for (int run = 0; run < 3; run++)
        {
            await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { SealActive = false, LastVolumeId = tombstones }, Stop));
            Assert.Equal(failures > 2, simulation.Store.ListVolumes().Any(volume => volume.VolumeId == tombstones));
            Assert.Equal(failures > 2 ? 1 : 0, simulation.Events.VolumesCorrupt);
        }

        simulation.Drive.Faults = new FaultPlan();
        await simulation.Restart(loseIndex: true);
        foreach (FragmentWrite write in deleted)
            await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(write));
        await Verify(simulation, first.Except(deleted));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task FragmentDeletedWhileItIsCopied_StaysDeleted_WhenPowerIsCutBeforeTheCopyHasATombstone(bool loseIndex, bool checkpoint)
    {
        using var simulation = new SimulatedFragments(57, writers: 2);
        List<FragmentWrite> live = await Fill(simulation, 60, 40_000);
        FragmentWrite[] deleted = [.. live.Where((_, i) => i % 4 != 0)];
        await simulation.Finish(simulation.Store.DeleteAsync(deleted.Select(write => write.Key).ToArray(), Stop));
        live = [.. live.Except(deleted)];
        DriveEngine engine = simulation.Store.Engine;
        Task delete = simulation.Store.DeleteAsync(live.Select(write => write.Key).ToArray(), Stop).AsTask();
        Task compaction = simulation.Store.CompactAsync(Unlimited with { SealActive = false }, Stop).AsTask();

        // The copies wait for the last writer, the tombstone for the first, which is stepped first.
        simulation.StepOnce();
        Assert.True(delete.IsCompletedSuccessfully);
        if (checkpoint)
            engine.Maintain();
        Assert.Empty(engine.Index.DeadCopies());
        simulation.StepOnce();
        Assert.NotEmpty(engine.Index.DeadCopies());
        Assert.False(compaction.IsCompleted);
        if (checkpoint)
            engine.Maintain();
        simulation.Crash(loseIndex);
        await AllMissing();
        await simulation.Restart(loseIndex: false);
        await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { GarbageRatio = 0, MinActiveGarbageBytes = 1 }, Stop));
        Assert.Empty(simulation.Store.Engine.Index.DeadCopies());
        await simulation.Restart(loseIndex: true);
        await AllMissing();
        Assert.Equal(0, (await simulation.Store.GetStatisticsAsync(Stop)).LiveFragments);

        async Task AllMissing()
        {
            foreach (FragmentWrite write in live.Concat(deleted))
                await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(write));
        }
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(3, false)]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(3, true)]
    public async Task FragmentDeletedWhileItIsCopied_StaysDeleted_WhenTheDriveIsFullForTheOtherCopies(int steps, bool failSync)
    {
        using var simulation = new SimulatedFragments(62, writers: 2);
        List<FragmentWrite> live = [];
        for (int i = 0; i < 14; i++)
        {
            live.Add(simulation.Make(40_000));
            await simulation.Finish(simulation.Store.WriteAsync(live[^1], true, Stop));
        }

        FragmentWrite[] deleted = [.. live.Take(6)];
        await simulation.Finish(simulation.Store.DeleteAsync(deleted.Select(write => write.Key).ToArray(), Stop));
        Assert.Equal(VolumeState.Sealed, simulation.Store.ListVolumes().Single(volume => volume.VolumeId == 1).State);

        // Room for a volume of two copies. The tombstones are written first, by another writer.
        simulation.Drive.CapacityBytes -= simulation.Drive.FreeBytes - (104 << 10);
        Task delete = simulation.Store.DeleteAsync(live.Select(write => write.Key).ToArray(), Stop).AsTask();
        Task compaction = simulation.Store.CompactAsync(Unlimited with { SealActive = false }, Stop).AsTask();
        for (int step = 0; step < steps; step++)
        {
            simulation.StepOnce();
            if (failSync)
                simulation.Drive.Faults.SyncErrorProbability = 1;
        }

        Assert.True(delete.IsCompletedSuccessfully);
        Assert.Equal(steps > 1, compaction.IsCompleted);
        if (compaction.IsCompleted)
            await Assert.ThrowsAsync<DriveFullException>(() => compaction);
        simulation.Store.Engine.Maintain();
        simulation.Drive.CapacityBytes = 64 << 20;
        simulation.Kill();
        foreach (FragmentWrite write in live)
            await Assert.ThrowsAsync<FragmentMissingException>(() => simulation.Read(write));
        Assert.Equal(0, (await simulation.Store.GetStatisticsAsync(Stop)).LiveFragments);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task PoisonedVolume_GivesItsUnusedRoomBack(bool restart)
    {
        using var simulation = new SimulatedFragments(64, writers: 1);
        List<FragmentWrite> live = await Fill(simulation, 2, 40_000);
        simulation.Drive.Faults.SyncErrorProbability = 1;
        await Assert.ThrowsAsync<VolumePoisonedException>(() => simulation.Finish(simulation.Store.WriteAsync(simulation.Make(1000), true, Stop)));
        simulation.Drive.Faults = new FaultPlan();
        if (restart)
            await simulation.Restart(loseIndex: false);
        live.AddRange(await Fill(simulation, 2, 40_000));
        long free = simulation.Drive.FreeBytes;
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        Assert.Equal((1, 2L, 512L << 10), (report.VolumesEmptied, report.FragmentsMoved, report.FreedBytes));
        Assert.Equal(free + (512 << 10), simulation.Drive.FreeBytes);
        await Verify(simulation, live);

        // And there is nothing left to do.
        Assert.Equal(0, (await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop))).VolumesEmptied);
    }

    [Fact]
    public async Task Step_OverMuchGarbage_ReadsFewMegabytes()
    {
        using var simulation = new SimulatedFragments(65, writers: 1, volumeSizeBytes: 32 << 20);
        List<FragmentWrite> written = await Fill(simulation, 900, 40_000);
        await simulation.Finish(simulation.Store.DeleteAsync(written.Skip(1).Take(700).Select(write => write.Key).ToArray(), Stop));
        long read = 0;
        using var cancelled = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        simulation.Drive.Faults.IsUnreadable = (_, _, length) =>
        {
            read += length;
            cancelled.Cancel();
            return false;
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => simulation.Finish(simulation.Store.CompactAsync(Unlimited with { SealActive = false }, cancelled.Token)));
        Assert.InRange(read, 1, 13 << 20); // a window of 4 MiB may begin within the step's last bytes
    }

    [Fact]
    public async Task FullDrive_IsCompactedWithinItsHeadroom()
    {
        using var simulation = new SimulatedFragments(54, writers: 1, capacityBytes: 6 << 20, headroomBytes: 1 << 20);
        var written = new List<FragmentWrite>();
        try
        {
            while (true)
            {
                FragmentWrite write = simulation.Make(40_000);
                await simulation.Finish(simulation.Store.WriteAsync(write, true, Stop));
                written.Add(write);
            }
        }
        catch (DriveFullException)
        {
        }

        await simulation.Finish(simulation.Store.DeleteAsync(written.Where((_, i) => i % 3 != 0).Select(write => write.Key).ToArray(), Stop));
        List<FragmentWrite> live = [.. written.Where((_, i) => i % 3 == 0)];
        await simulation.Finish(simulation.Store.CompactAsync(Unlimited, Stop));
        live.AddRange(await Fill(simulation, 20, 40_000));
        await Verify(simulation, live);
    }

    [Fact]
    public async Task Verification_OfASealedVolume_FindsEveryDamagedByte()
    {
        using var simulation = new SimulatedFragments(55, writers: 1);
        List<FragmentWrite> written = await Fill(simulation, 40, 40_000);
        await simulation.Finish(simulation.Store.DeleteAsync(written.Take(4).Select(write => write.Key).ToArray(), Stop));
        VolumeInfo info = simulation.Store.ListVolumes().First(volume => volume.State == VolumeState.Sealed);
        VolumeVerification clean = Assert.IsType<VolumeVerification>(await simulation.Store.VerifyVolumeAsync(info.VolumeId, cancellationToken: Stop));
        Assert.Equal((true, info.LiveFragments, 0), (clean.ChecksumMatches, clean.Fragments, clean.Damaged.Count));
        Assert.Null(await simulation.Store.VerifyVolumeAsync(999, cancellationToken: Stop));
        var random = new Random(55);
        for (int i = 0; i < 60; i++)
        {
            long offset = random.NextInt64(VolumeFormat.LogStart, VolumeFormat.LogStart + info.LogBytes - VolumeFormat.PageBytes);
            int bit = random.Next(8);
            simulation.Drive.FlipBit(info.VolumeId, offset, bit);
            VolumeVerification verification = (await simulation.Store.VerifyVolumeAsync(info.VolumeId, cancellationToken: Stop))!;
            Assert.False(verification.ChecksumMatches);
            Assert.InRange(verification.Damaged.Count, 0, 1);
            Assert.Equal(info.LiveFragments, verification.Fragments + verification.Damaged.Count);
            foreach (FragmentEntry entry in verification.Damaged)
                await Assert.ThrowsAsync<FragmentCorruptException>(() => simulation.Read(written.Single(write => write.Key == entry.Key)));
            await Verify(simulation, written.Skip(4).Where(write => verification.Damaged.All(entry => entry.Key != write.Key)));
            simulation.Drive.FlipBit(info.VolumeId, offset, bit);
        }
    }

    [Fact]
    public async Task Verification_OfAVolumeOfSeveralPages_FindsTheDamageOfEach()
    {
        using var simulation = new SimulatedFragments(58, writers: 1);
        (VolumeInfo info, List<FragmentWrite> within) = await FillWithSmall(simulation);
        FragmentWrite[] damaged = [within[0], within[300], within[^1]];
        foreach (FragmentWrite write in damaged)
            Flip(simulation, write, payload: true);
        VolumeVerification verification = (await simulation.Store.VerifyVolumeAsync(info.VolumeId, cancellationToken: Stop))!;
        Assert.Equal(damaged.Select(write => write.Key), verification.Damaged.Select(entry => entry.Key));
        Assert.Equal((false, within.Count - 3), (verification.ChecksumMatches, verification.Fragments));
        await Verify(simulation, within.Except(damaged));
    }

    [Fact]
    public async Task DamagedHeaders_OfMoreFragmentsThanAPage_AreAllReported_AndKeepTheirVolume()
    {
        using var simulation = new SimulatedFragments(59, writers: 1);
        (VolumeInfo info, List<FragmentWrite> within) = await FillWithSmall(simulation);
        FragmentWrite[] damaged = [.. within.Where((_, i) => i % 3 != 0).Take(400)];
        foreach (FragmentWrite write in damaged)
            Flip(simulation, write, payload: false);
        CompactionReport report = await simulation.Finish(simulation.Store.CompactAsync(Unlimited with { GarbageRatio = 0, SealActive = false }, Stop));
        Assert.Equal((400, 1), (report.CorruptFragments, report.VolumesLeft));
        Assert.Equal(400, simulation.Events.Corrupt);
        VolumeInfo left = simulation.Store.ListVolumes().Single(volume => volume.VolumeId == info.VolumeId);
        Assert.Equal(400, left.LiveFragments);
        await Verify(simulation, within.Except(damaged));
    }

    [Fact]
    public async Task Compaction_OnRealFiles_WhileFragmentsAreReadWrittenAndDeleted_LosesNothing()
    {
        using var folder = new TestFolder();
        var random = new Random(56);
        var options = new StorageOptions { DrivePaths = [folder.Path], VolumeSizeBytes = 4 << 20, HeadroomBytes = 0, WritersPerDrive = 2, IndexFlushEntries = 200 };
        using var maker = new SimulatedFragments(56);
        await using LocalDrives drives = await LocalDrives.OpenAsync(options, TimeProvider.System, Random64, NoStorageEvents.Instance, Stop);
        LocalFragmentStore store = drives.Drives[0];
        FragmentWrite[] kept = [.. Enumerable.Range(0, 200).Select(i => maker.Make(i * 300))];
        FragmentWrite[] churn = [.. Enumerable.Range(0, 600).Select(i => maker.Make(30_000))];
        await Task.WhenAll(kept.Zip(churn).Select(async pair =>
        {
            await store.WriteAsync(pair.First, true, Stop);
            await store.WriteAsync(pair.Second, true, Stop);
        }));
        using var done = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        Task readers = Task.WhenAll(Enumerable.Range(0, 2).Select(reader => Task.Run(
            async () =>
            {
                for (int i = reader; !done.IsCancellationRequested; i++)
                {
                    FragmentWrite write = kept[i % kept.Length];
                    var bytes = new byte[write.Payload.Length];
                    await store.ReadAsync(new FragmentAddress(write.Key, write.Descriptor.PlacementGroup, write.Scheme, bytes.Length), 0, bytes, Stop);
                    Assert.True(write.Payload.Span.SequenceEqual(bytes));
                }
            },
            Stop)));
        Task writers = Task.Run(
            async () =>
            {
                for (int i = 200; i < churn.Length; i++)
                {
                    await store.WriteAsync(churn[i], true, Stop);
                    await store.DeleteAsync(new[] { churn[i - 200].Key, churn[i - 100].Key }, Stop);
                }
            },
            Stop);
        long moved = 0;
        do
            moved += (await store.CompactAsync(Unlimited with { GarbageRatio = 0.1, MinActiveGarbageBytes = 1 << 20 }, Stop)).FragmentsMoved;
        while (!writers.IsCompleted);
        await writers;
        await done.CancelAsync();
        await readers;
        Assert.True(moved > 0);
        Assert.Equal(kept.Length + 100, (await store.GetStatisticsAsync(Stop)).LiveFragments);

        ulong Random64()
        {
            lock (random)
                return (ulong)random.NextInt64(long.MinValue, long.MaxValue);
        }
    }

    private static async Task<List<FragmentWrite>> Fill(SimulatedFragments simulation, int count, int length)
    {
        List<FragmentWrite> writes = [.. Enumerable.Range(0, count).Select(_ => simulation.Make(length))];
        foreach (FragmentWrite[] group in writes.Chunk(16))
            await simulation.Pump(Task.WhenAll(group.Select(write => simulation.Store.WriteAsync(write, true, Stop).AsTask())));
        return writes;
    }

    /// <summary>A sealed volume with more fragments than two pages of its listing have, and those in key order; other volumes have some besides.</summary>
    private static async Task<(VolumeInfo Info, List<FragmentWrite> Within)> FillWithSmall(SimulatedFragments simulation)
    {
        List<FragmentWrite> written = await Fill(simulation, 1600, 500);
        VolumeInfo info = simulation.Store.ListVolumes().First(volume => volume.State == VolumeState.Sealed);
        List<FragmentWrite> within = [.. written.Where(write => simulation.Store.Engine.TryLocate(write.Key, out FragmentLocation location, out _) && location.VolumeId == info.VolumeId).OrderBy(write => write.Key)];
        Assert.InRange(within.Count, 600, written.Count - 100);
        return (info, within);
    }

    private static async Task Verify(SimulatedFragments simulation, IEnumerable<FragmentWrite> live)
    {
        foreach (FragmentWrite write in live)
            Assert.Equal(write.Payload.ToArray(), await simulation.Read(write));
    }

    private static void Flip(SimulatedFragments simulation, FragmentWrite write, bool payload)
    {
        Assert.True(simulation.Store.Engine.TryLocate(write.Key, out FragmentLocation location, out _));
        simulation.Drive.FlipBit(location.VolumeId, location.Offset + (payload ? location.PayloadOffset + 100 : 20), 2);
    }
}

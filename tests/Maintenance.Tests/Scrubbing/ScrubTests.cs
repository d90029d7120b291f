using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Maintenance.Tests.Scrubbing;

public sealed class ScrubTests
{
    private static readonly Scheme Copies3 = Scheme.Copies(3);

    // A gibibyte a second: no test waits for the rate but the one about it.
    private static readonly ScrubOptions Fast = new() { FloorBytesPerSecond = 1 << 30 };

    [Fact]
    public async Task Scrub_FindsDamageOnEveryDrive_AndRepairMakesItWhole()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(60);
        HashSet<Guid> damaged = [];
        foreach (TestExtent extent in cluster.Live)
        {
            // One fragment of each extent, a byte anywhere in it.
            FragmentKey key = extent.Keys.ElementAt((int)(extent.Id.Value % (ulong)extent.Keys.Count()));
            Guid drive = cluster.DriveOf(extent, key.Shard);
            Assert.True(cluster.Store(drive).Corrupt(key, (int)(extent.Id.Value % 5000)));
            damaged.Add(drive);
        }

        Assert.Equal(cluster.Mapped.Select(drive => drive.Id).Order(), damaged.Order());
        Assert.Equal(60, await ScrubAllAsync(cluster));
        RepairService repair = cluster.CreateRepair();
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
        Assert.Equal(0, await ScrubAllAsync(cluster));
    }

    [Fact]
    public async Task Fragment_ThatIsListedAndCannotBeFound_IsMissing()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3), before = await cluster.WriteAsync(Copies3);
        Assert.NotNull(before);
        MemoryFragmentStore store = cluster.Store(cluster.DriveOf(extent, 1));
        var key = new FragmentKey(extent.Id, 0, 1);
        store.Fault = (operation, at, _) => operation == FragmentOperation.Read && at == key ? throw new FragmentMissingException(key.Extent, key.Block, key.Shard) : default;
        Assert.Equal(1, await ScrubAllAsync(cluster));
        RepairEntry entry = Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10));
        Assert.Equal(((int)RepairReason.Scrub, 0b10UL), (entry.Record.Reason, entry.Record.Shards));
    }

    [Fact]
    public async Task Fragment_ThatIsDeletedBetweenListingAndReading_IsNobodysLoss()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent first = await cluster.WriteAsync(Copies3), extent = await cluster.WriteAsync(Copies3);
        Assert.NotNull(first);
        MemoryFragmentStore store = cluster.Store(cluster.DriveOf(extent, 1));
        var key = new FragmentKey(extent.Id, 0, 1);
        store.Fault = async (operation, at, _) =>
        {
            if (operation == FragmentOperation.Read && at == key)
                await store.DeleteAsync(new[] { key });
        };
        Assert.Equal(0, await ScrubAllAsync(cluster));
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
        Assert.DoesNotContain(key, store.Keys);
    }

    [Fact]
    public async Task Orphans_AreDeletedOnceTheyAreOld_AndNoCommitNamesThemAfterwards()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent orphan = await cluster.WriteAsync(new Scheme(4, 2), 12_000, commit: false), live = await cluster.WriteAsync(Copies3);
        cluster.Time.Advance(TimeSpan.FromHours(71));
        TestExtent young = await cluster.WriteAsync(Copies3, commit: false);
        await ScrubAllAsync(cluster);
        Assert.Equal(orphan.Keys.Count(), CountFragments(cluster, orphan));

        cluster.Time.Advance(TimeSpan.FromHours(2));
        await ScrubAllAsync(cluster);
        Assert.Equal(3, CountFragments(cluster, young));
        await cluster.AssertWholeAsync();
        Assert.NotNull(live);

        // The first drive's are gone; then it is garbage, which the reclaimer deletes from all.
        Assert.Equal(orphan.Keys.Count() - orphan.Shards.Length, CountFragments(cluster, orphan));
        ExtentGarbage garbage = Assert.Single(await cluster.Metadata.ListGarbageAsync(long.MaxValue, 10));
        Assert.Equal(((ulong)orphan.Id.Value, orphan.Group, 12_000L), (garbage.Extent.ExtentLow, garbage.Extent.PlacementGroup, garbage.Extent.LengthBytes));
        await Assert.ThrowsAnyAsync<Exception>(() => cluster.CommitAsync(orphan));
        await cluster.ReclaimAsync(orphan);
        await ScrubAllAsync(cluster);
        Assert.Equal(0, CountFragments(cluster, orphan));
        await cluster.CommitAsync(young);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Orphan_ThatIsCommittedWhileItIsLookedAt_Stays()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent slow = await cluster.WriteAsync(Copies3, commit: false);
        cluster.Time.Advance(TimeSpan.FromHours(100));
        bool committed = false;
        cluster.Metadata.OnCall = call =>
        {
            if (call.Method != "CondemnExtents" || committed)
                return null;
            committed = true;
            return new Testing.StoreFault { Meanwhile = () => cluster.CommitAsync(slow).GetAwaiter().GetResult() };
        };
        await ScrubAllAsync(cluster);
        Assert.True(committed);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Stray_WhoseHomeIsWhole_IsDeleted()
    {
        (TestCluster cluster, _, _, _) = await WriteStrayAsync(Copies3);
        await ScrubAllAsync(cluster);
        Assert.Single(cluster.Strays());
        cluster.Time.Advance(TimeSpan.FromHours(2));
        await ScrubAllAsync(cluster);
        Assert.Empty(cluster.Strays());
        await cluster.AssertWholeAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task DamagedStray_DoesNotCountWhenItsSlotComesBackToItsDrive(bool homeIsAway)
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        Guid home = cluster.DriveOf(extent, key.Shard);
        Assert.True(cluster.Store(elsewhere).Corrupt(key, 17));
        cluster.SetReachable(home, !homeIsAway);
        await ScrubAllAsync(cluster);
        Assert.Equal(homeIsAway ? 1 : 0, cluster.Strays().Count);

        // Back it comes, as if nothing had been wrong with it: what is listed is taken to be there.
        MoveSlot(cluster, extent, key, elsewhere);
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    /// <summary>Compaction, and the check of a sealed volume, tell of damage where no scrub of the fragments has seen it.</summary>
    [Fact]
    public async Task DamagedStray_ThatTheDriveToldOfByItself_DoesNotCountWhenItsSlotComesBack()
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        Assert.True(cluster.Store(elsewhere).Corrupt(key, 17));
        FragmentPage listed = await cluster.Store(elsewhere).ListAsync(null, null, 10, TestContext.Current.CancellationToken);
        await new FoundDamage(() => cluster.Map, cluster.Queue).TellAsync(listed.Entries.Where(entry => entry.Key == key), TestContext.Current.CancellationToken);
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Empty(cluster.Strays());
        MoveSlot(cluster, extent, key, elsewhere);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
    }

    /// <summary>Its home was damaged too, so that it had to stay; but that is repaired, and the word of the damage used up, before the slot comes back.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task DamagedStray_OfAHomeThatWasDamagedToo_DoesNotCountWhenItsSlotComesBack(bool isSource)
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        Guid home = cluster.DriveOf(extent, key.Shard);
        Assert.True(cluster.Store(elsewhere).Corrupt(key, 17));
        Assert.True(cluster.Store(home).Corrupt(key, 18));
        if (isSource)
            MoveSlot(cluster, extent, key, home, elsewhere);
        await ScrubAllAsync(cluster);
        RepairService repair = await cluster.StartRepairAsync();
        for (int i = 0; i < 5; i++)
        {
            await repair.WorkOffQueueAsync(CancellationToken.None);
            cluster.Time.Advance(TimeSpan.FromSeconds(31));
        }

        Assert.True(await cluster.IsIntactAsync(extent, key, home));
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
        MoveSlot(cluster, extent, key, elsewhere);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task DamageOnADriveThatASlotIsFilledFrom_IsNotForgotten_WhileThatDriveDoesNotAnswer()
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        Guid home = cluster.DriveOf(extent, key.Shard);
        MoveSlot(cluster, extent, key, home, elsewhere);
        Assert.True(cluster.Store(elsewhere).Corrupt(key, 17));
        await ScrubAllAsync(cluster);
        RepairService repair = await cluster.StartRepairAsync();
        cluster.Store(elsewhere).Fault = (_, _, _) => throw new DriveUnavailableException(elsewhere, "it restarts");
        for (int i = 0; i < 3; i++)
        {
            await repair.WorkOffQueueAsync(CancellationToken.None);
            cluster.Time.Advance(TimeSpan.FromMinutes(5));
        }

        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        cluster.Store(elsewhere).Fault = null;
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.DoesNotContain(key, cluster.Store(elsewhere).Keys);
        Assert.True(await cluster.IsIntactAsync(extent, key, home));
    }

    [Fact]
    public async Task IntactFragmentOnADriveThatASlotIsFilledFrom_KeepsNoEntryQueued()
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        Guid home = cluster.DriveOf(extent, key.Shard);
        MoveSlot(cluster, extent, key, home, elsewhere);
        Assert.True(cluster.Store(home).Corrupt(key, 17));
        await ScrubAllAsync(cluster);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
        Assert.Contains(key, cluster.Store(elsewhere).Keys);
        Assert.True(await cluster.IsIntactAsync(extent, key, home));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Stray_ThatIsDeletedWhileItsSlotComesBackToItsDrive_IsRepaired(bool withoutAnAnswer)
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, Guid elsewhere) = await WriteStrayAsync(Copies3);
        cluster.Time.Advance(TimeSpan.FromHours(2));
        cluster.Store(elsewhere).Fault = (operation, _, _) =>
        {
            if (operation != FragmentOperation.Delete)
                return default;

            // Complete, as by a pass that has seen it there.
            cluster.ChangeSlots((group, number, slot) => group == extent.Group && number == key.Shard ? new GroupSlot(elsewhere, [], IsComplete: true) { Since = cluster.Map.Epoch + 1 } : slot);
            return withoutAnAnswer ? throw new DriveUnavailableException(elsewhere, "it has not answered") : default;
        };
        if (withoutAnAnswer)
        {
            await Assert.ThrowsAsync<DriveUnavailableException>(() => ScrubAsync(cluster.CreateScrub(Fast), cluster.Store(elsewhere)));
            cluster.Store(elsewhere).Fault = null;
            await cluster.Store(elsewhere).DeleteAsync(new[] { key }); // it was carried out all the same
        }
        else
        {
            await ScrubAsync(cluster.CreateScrub(Fast), cluster.Store(elsewhere));
        }

        Assert.Equal(elsewhere, cluster.DriveOf(extent, key.Shard));
        Assert.DoesNotContain(key, cluster.Store(elsewhere).Keys);
        await cluster.RunQueueUntilEmptyAsync(cluster.CreateRepair());
        await cluster.AssertWholeAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Stray_WhoseHomeLacksIt_IsBroughtHome(bool damagedAtHome)
    {
        (TestCluster cluster, TestExtent extent, FragmentKey key, _) = await WriteStrayAsync(new Scheme(4, 2), 9000);
        MemoryFragmentStore home = cluster.Store(cluster.DriveOf(extent, key.Shard));
        if (damagedAtHome)
            Assert.True(home.Corrupt(key, 17));
        else
            await home.DeleteAsync(new[] { key });
        cluster.Time.Advance(TimeSpan.FromHours(2));
        await ScrubAllAsync(cluster);
        Assert.Empty(cluster.Strays());
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Stray_WhoseSlotIsIncompleteOrWhoseHomeIsAway_Stays()
    {
        (TestCluster cluster, TestExtent extent, _, _) = await WriteStrayAsync(Copies3);
        cluster.Time.Advance(TimeSpan.FromHours(2));
        ClusterMap map = cluster.Map;
        Guid home = cluster.DriveOf(extent, 0);
        cluster.SetReachable(home, false);
        await ScrubAllAsync(cluster);
        Assert.Single(cluster.Strays());
        cluster.SetReachable(home, true);
        cluster.ChangeSlots((_, _, slot) => slot with { IsComplete = false, Since = map.Epoch + 1 });
        await ScrubAllAsync(cluster);
        Assert.Single(cluster.Strays());
        cluster.SetMap(map);
        await ScrubAllAsync(cluster);
        Assert.Empty(cluster.Strays());
    }

    [Fact]
    public async Task Restart_GoesOnWhereItStood()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6, groups: 2);
        for (int i = 0; i < 100; i++)
            await cluster.WriteAsync(new Scheme(4, 2), 64);
        MemoryFragmentStore drive = cluster.Store(cluster.Mapped[0].Id);
        ScrubOptions options = new() { FloorBytesPerSecond = 1 << 30, PageEntries = 10 };
        using CancellationTokenSource stop = new();
        int reads = 0;
        drive.Fault = (operation, _, _) =>
        {
            if (operation == FragmentOperation.Read && Interlocked.Increment(ref reads) == 50)
                stop.Cancel();
            return default;
        };
        DriveScrubber first = cluster.CreateScrub(options).CreateScrubber(drive);
        await first.LoadAsync(CancellationToken.None);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.RunPassAsync(stop.Token));
        DriveScrubber second = cluster.CreateScrub(options).CreateScrubber(drive);
        await second.LoadAsync(CancellationToken.None);
        await second.RunPassAsync(CancellationToken.None);
        Assert.InRange(reads, 100, 111);
        Assert.True(second.Status.Fragments >= 100);
        Assert.NotNull(second.Status.LastPassFinished);
    }

    [Fact]
    public async Task Pass_IsSpreadOverThePeriod()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6, groups: 2);
        for (int i = 0; i < 50; i++)
            await cluster.WriteAsync(Copies3, 100_000, 100_000);
        MemoryFragmentStore drive = cluster.Store(cluster.Mapped[0].Id);
        long bytes = (await drive.GetStatisticsAsync()).LiveBytes;
        Assert.True(bytes > 1_000_000);
        ScrubService service = cluster.CreateScrub(new ScrubOptions { Period = TimeSpan.FromMinutes(10), FloorBytesPerSecond = 1024 });
        DriveScrubber scrubber = service.CreateScrubber(drive);
        await scrubber.LoadAsync(CancellationToken.None);
        DateTimeOffset began = cluster.Time.GetUtcNow();
        await cluster.LetTimePassUntilAsync(scrubber.RunPassAsync(CancellationToken.None));
        Assert.InRange((cluster.Time.GetUtcNow() - began).TotalMinutes, 8.5, 9.5);
        Assert.Equal(bytes, scrubber.Status.Bytes);
    }

    [Fact]
    public async Task SealedVolumes_AreVerifiedAfterTheFragments()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        await cluster.WriteManyAsync(10);
        await using var drive = new DriveWithVolumes(cluster.Store(cluster.Mapped[0].Id), Volume(3, true), Volume(4, false), Volume(5, null), Volume(9, true));
        DriveScrubber scrubber = cluster.CreateScrub(Fast).CreateScrubber(drive);
        await scrubber.LoadAsync(CancellationToken.None);
        await scrubber.RunPassAsync(CancellationToken.None);
        Assert.Equal([3L, 4, 5, 9], drive.Verified);
        Assert.All(drive.Rates, rate => Assert.Equal(Fast.FloorBytesPerSecond, rate));
        Assert.Equal(1, scrubber.Status.Findings);
    }

    [Fact]
    public async Task Scrub_AfterAClockThatWasAhead_DoesNotWaitForThatTime()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        await cluster.WriteManyAsync(10);
        long ahead = cluster.Time.GetUtcNow().AddYears(1).ToUnixTimeMilliseconds();
        foreach (MappedDrive drive in cluster.Mapped)
            await cluster.Metadata.SetCursorAsync("scrub/" + drive.Id.ToString("N"), new ScrubCursor(ahead, ahead + 1, IsDone: true, InVolumes: true, null, 1, 1, 0, 0).Encode());
        ScrubService service = cluster.CreateScrub(Fast);
        await service.StartAsync(CancellationToken.None);
        await WaitAsync(cluster, () => service.Status.Count == 6 && service.Status.All(status => status.LastPassFinished < cluster.Time.GetUtcNow().AddDays(1)));
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task Service_ScrubsTheLocalDrivesThereAre()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        await cluster.WriteManyAsync(10);
        ScrubService service = cluster.CreateScrub(Fast);
        await service.StartAsync(CancellationToken.None);
        await WaitAsync(cluster, () => service.Status.Count == 6 && service.Status.All(status => status.LastPassFinished is not null));
        cluster.SetReachable(cluster.Mapped[0].Id, false);
        await WaitAsync(cluster, () => service.Status.Count == 5);
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(6, (await cluster.Metadata.ListCursorsAsync("scrub/")).Length);
    }

    [Fact]
    public async Task Scrub_CountsEachExtentOnce_AmongThoseThatWereJudged()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        for (int i = 0; i < 30; i++)
            await cluster.WriteAsync(Copies3, 10_000, 4096);
        TestExtent orphan = await cluster.WriteAsync(Copies3, commit: false);
        cluster.Time.Advance(TimeSpan.FromHours(73));
        FragmentDetails details = (await cluster.Store(cluster.DriveOf(orphan, 0)).StatAsync(new FragmentKey(orphan.Id, 0, 0)))!;
        await ScrubAllAsync(cluster, new ScrubOptions { FloorBytesPerSecond = Fast.FloorBytesPerSecond, PageEntries = 7 });

        // The scrub itself has condemned one. A tenth of thirty are three more.
        await cluster.Liveness.CondemnAsync([.. Enumerable.Repeat(details, Maintenance.Liveness.MetadataExtentLiveness.FreeOrphans - 1)]);
        Assert.Equal([true, true, true], await cluster.Liveness.CondemnAsync([details, details, details]));
        Assert.Equal([false], await cluster.Liveness.CondemnAsync([details]));
    }

    [Fact]
    public async Task Reading_IsSeenByTheGovernor_AndWhereClientsAreWellItNeverWaits()
    {
        var latency = new TestLatency();
        TestCluster cluster = await TestCluster.CreateAsync(drives: 3, latency: latency);
        for (int i = 0; i < 10; i++)
            await cluster.WriteAsync(Copies3);
        for (int i = 0; i < 100; i++)
            cluster.Governor.Observe();

        // Repair begins with little, which is no concern of the scrub's.
        using (cluster.Governor.BusyByShare())
            Assert.True(cluster.Governor.Share < 1);
        MemoryFragmentStore drive = cluster.Store(cluster.Mapped[0].Id);
        DriveScrubber scrubber = cluster.CreateScrub(Fast).CreateScrubber(drive);
        await scrubber.LoadAsync(CancellationToken.None);
        await scrubber.RunPassAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(10, scrubber.Status.Fragments);
        bool seen = false;
        drive.Fault = (operation, _, _) =>
        {
            if (operation == FragmentOperation.Read && !seen)
            {
                latency.P99 = TimeSpan.FromSeconds(1);
                cluster.Governor.Observe();
                seen = cluster.Governor.IsHeldBack;
                latency.P99 = null;
                while (cluster.Governor.IsHeldBack)
                    cluster.Governor.Observe();
            }

            return default;
        };
        await ScrubAllAsync(cluster);
        Assert.True(seen);
    }

    [Fact]
    public async Task HeldBack_ItRestsInProportionToItsReads()
    {
        var latency = new TestLatency();
        TestCluster cluster = await TestCluster.CreateAsync(drives: 3, latency: latency);
        for (int i = 0; i < 10; i++)
            await cluster.WriteAsync(Copies3);
        cluster.Governor.Observe();
        using IDisposable busy = cluster.Governor.Busy();
        latency.P99 = TimeSpan.FromSeconds(1);
        while (cluster.Governor.Share > LoadGovernor.LeastShare)
            cluster.Governor.Observe();
        MemoryFragmentStore drive = cluster.Store(cluster.Mapped[0].Id);
        drive.Fault = (operation, _, _) =>
        {
            if (operation == FragmentOperation.Read)
                cluster.Time.Advance(TimeSpan.FromMilliseconds(10));
            return default;
        };
        DriveScrubber scrubber = cluster.CreateScrub(Fast).CreateScrubber(drive);
        await scrubber.LoadAsync(CancellationToken.None);
        DateTimeOffset began = cluster.Time.GetUtcNow();
        await cluster.LetTimePassUntilAsync(scrubber.RunPassAsync(CancellationToken.None));
        Assert.Equal(10, scrubber.Status.Fragments);

        // Fifteen times as long as each read.
        Assert.Equal(10 * 160, (cluster.Time.GetUtcNow() - began).TotalMilliseconds, 50.0);
    }

    private static void MoveSlot(TestCluster cluster, TestExtent extent, FragmentKey key, Guid to, params Guid[] sources) => cluster.ChangeSlots((group, number, slot) =>
        group == extent.Group && number == key.Shard ? new GroupSlot(to, [.. sources], IsComplete: false) { Since = cluster.Map.Epoch + 1 } : slot);

    private static async Task WaitAsync(TestCluster cluster, Func<bool> condition)
    {
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        while (!condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
            cluster.Time.Advance(TimeSpan.FromSeconds(20));
        }
    }

    /// <summary>One pass over each drive; how much was found.</summary>
    private static async Task<long> ScrubAllAsync(TestCluster cluster, ScrubOptions? options = null)
    {
        ScrubService service = cluster.CreateScrub(options ?? Fast);
        long findings = 0;
        foreach (IFragmentStore drive in cluster.All)
        {
            await cluster.Metadata.SetCursorAsync("scrub/" + drive.DriveId.ToString("N"), null);
            findings += await ScrubAsync(service, drive);
        }

        return findings;
    }

    /// <summary>A pass over one drive; how much was found.</summary>
    private static async Task<long> ScrubAsync(ScrubService service, IFragmentStore drive)
    {
        DriveScrubber scrubber = service.CreateScrubber(drive);
        await scrubber.LoadAsync(CancellationToken.None);
        await scrubber.RunPassAsync(CancellationToken.None);
        return scrubber.Status.Findings;
    }

    private static VolumeVerification Volume(long id, bool? matches) => new(id, matches, 1000, 1, []);

    private static int CountFragments(TestCluster cluster, TestExtent extent) => cluster.Mapped.Sum(drive => cluster.Store(drive.Id).Keys.Count(key => key.Extent == extent.Id));

    /// <summary>An extent of one block that is whole, and a copy of its first fragment on a drive that the map does not name for it.</summary>
    private static async Task<(TestCluster Cluster, TestExtent Extent, FragmentKey Key, Guid Elsewhere)> WriteStrayAsync(Scheme scheme, int lengthBytes = 1000)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(scheme, lengthBytes, Math.Max(lengthBytes, 4096));
        FragmentKey key = extent.Keys.First();
        HashSet<Guid> members = [.. Enumerable.Range(0, scheme.Width).Select(shard => cluster.DriveOf(extent, shard))];
        Guid elsewhere = cluster.Mapped.First(drive => !members.Contains(drive.Id)).Id;
        await cluster.PutAsync(extent, key, elsewhere);
        return (cluster, extent, key, elsewhere);
    }
}

using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Repair;

public sealed class RepairQueueTests
{
    private static readonly Scheme Copies3 = Scheme.Copies(3);
    private static readonly Scheme Coded = new(4, 2);

    [Fact]
    public async Task Record_IsInTheMetadataWhenItCompletes_AndFailsWhereThatDoes()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3);
        RepairNotice notice = Notice(extent, 0b100, RepairReason.DegradedWrite);
        cluster.Metadata.OnCall = call => call.Method == "RecordRepairs" ? new StoreFault { Fail = new MetadataStoreException("test") } : null;
        await Assert.ThrowsAsync<MetadataStoreException>(() => cluster.Queue.RecordAsync(notice).AsTask());
        cluster.Metadata.OnCall = null;
        await cluster.Queue.RecordAsync(notice);
        RepairEntry entry = Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10));
        Assert.Equal((extent.Group, (int)Copies3.Id, 0b100UL), (entry.Record.PlacementGroup, entry.Record.Scheme, entry.Record.Shards));
        Assert.True(entry.Record.NotBeforeUnixMs > cluster.Time.GetUtcNow().ToUnixTimeMilliseconds(), "The write itself may still bring it.");
    }

    [Fact]
    public async Task Report_BeyondTheBoundIsDropped_AndTheRestIsRecordedByTheLoop()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3);
        using var queue = new RepairQueue(cluster.Metadata, cluster.Time, new RepairQueueOptions { ReportCapacity = 5, BatchNotices = 2 }, NullLogger<RepairQueue>.Instance);
        for (int block = 0; block < 9; block++)
            queue.Report(Notice(extent, 0b1, RepairReason.MissingOnRead) with { FirstBlock = block });
        int recorded = 0;
        TaskCompletionSource all = new(TaskCreationOptions.RunContinuationsAsynchronously);
        queue.Recorded += () =>
        {
            if (++recorded == 3)
                all.SetResult();
        };
        await queue.StartAsync(CancellationToken.None);
        await all.Task.WaitAsync(TimeSpan.FromSeconds(30));
        await queue.StopAsync(CancellationToken.None);
        Assert.Equal([0, 1, 2, 3, 4], (await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Select(entry => entry.Record.FirstBlock).Order());
    }

    [Theory]
    [InlineData(RepairReason.DegradedWrite)]
    [InlineData(RepairReason.MissingOnRead)]
    [InlineData(RepairReason.CorruptOnRead)]
    [InlineData(RepairReason.Scrub)]
    public async Task Queue_MakesWholeWhatWasRecorded(RepairReason reason)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Coded, 20_000, 5000, without: reason is RepairReason.DegradedWrite or RepairReason.MissingOnRead ? new ShardSet(0b010010) : default);
        if (reason is RepairReason.CorruptOnRead or RepairReason.Scrub)
        {
            foreach (FragmentKey key in extent.Keys.Where(key => key.Shard is 1 or 4))
                Assert.True(cluster.Store(cluster.DriveOf(extent, key.Shard)).Corrupt(key, 100));
        }

        RepairService repair = await cluster.StartRepairAsync();
        await cluster.Queue.RecordAsync(Notice(extent, 0b010010, reason) with { BlockCount = extent.Shards.Length });
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
        Assert.Equal(2 * extent.Shards.Length, repair.Status.FragmentsRebuilt);
    }

    [Fact]
    public async Task Queue_TakesTheBlocksWithTheFewestToSpareFirst()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        List<(TestExtent Extent, int Spare)> written = [];
        for (int i = 0; i < 12; i++)
        {
            ulong shards = i % 2 == 0 ? 0b1UL : 0b11UL;
            TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(shards));
            await cluster.Queue.RecordAsync(Notice(extent, shards, RepairReason.Scrub));
            written.Add((extent, i % 2 == 0 ? 1 : 0));
        }

        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { MaxParallelBlocks = 1 });
        await cluster.RunQueueUntilEmptyAsync(repair);
        int[] spares = [.. cluster.Repairer.Asked.Select(work => written.Single(entry => entry.Extent.Id == work.Extent).Spare)];
        Assert.Equal(spares.Order(), spares);
        Assert.Equal(12, spares.Length);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task FewestSpare_IsWhatTheBlocksLackInFact_NotWhatHasEverBeenSaidOfThem()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        TestExtent whole = await cluster.WriteAsync(Coded), lacking = await cluster.WriteAsync(Coded, without: new ShardSet(0b1));
        RepairService repair = await cluster.StartRepairAsync();

        // Said of it one by one while others were made whole: more than it may lose.
        await cluster.Queue.RecordAsync(Notice(whole, 0b111111, RepairReason.MissingOnRead));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Null(repair.Status.FewestSpare);
        await cluster.Queue.RecordAsync(Notice(lacking, 0b1111, RepairReason.MissingOnRead));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(1, repair.Status.FewestSpare);
        Assert.Equal(1, repair.Status.FragmentsRebuilt);
        cluster.Time.Advance(TimeSpan.FromSeconds(21));
        Assert.Null(repair.Status.FewestSpare);
    }

    [Fact]
    public async Task FewestSpare_OfABlockWhoseDriveIsAway_IsKnownFromItsEntry()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b11));
        cluster.SetReachable(cluster.DriveOf(extent, 0), false);
        cluster.SetReachable(cluster.DriveOf(extent, 1), false);
        await cluster.Queue.RecordAsync(Notice(extent, 0b11, RepairReason.MissingOnRead));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(0, repair.Status.FewestSpare);
    }

    [Fact]
    public async Task FewestSpare_WhileSlotsAreFilled_IsThatOfTheirBlocks()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        TestExtent extent = await cluster.WriteAsync(Coded);
        cluster.Lose(cluster.DriveOf(extent, 2));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.Null(repair.Status.FewestSpare);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.Equal(1, repair.Status.FewestSpare);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task BlockOfWhichOnlyDamagedRecordsAreLeft_ThatDoNotSayWhoseTheyAre_IsKeptAndToldByItself()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b111110));
        bool isDamaged = true;
        cluster.Store(cluster.DriveOf(extent, 0)).Fault = (operation, key, _) => isDamaged && operation is FragmentOperation.Stat or FragmentOperation.Read && key?.Extent == extent.Id
            ? ValueTask.FromException(new FragmentCorruptException(extent.Id, 0, 0, cluster.DriveOf(extent, 0), 1, 0, "test"))
            : default;
        await cluster.Queue.RecordAsync(Notice(extent, 0b11, RepairReason.Scrub));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal((0, 1, 0), (repair.Status.Queued, repair.Status.BlocksUnidentified, repair.Status.BlocksLost));
        Assert.Equal(1, Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Attempts);

        // It can be read after all: then it is known to be an object's, and lost.
        isDamaged = false;
        cluster.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal((1, 0, 1), (repair.Status.Queued, repair.Status.BlocksUnidentified, repair.Status.BlocksLost));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task BlockOfWhichOnlyDamagedRecordsAreLeft_KeepsNoSlotFromBeingCompleted(bool isTheDrivesOwn)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(50);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b111100), commit: false); // of a write that was given up
        Guid damaged = cluster.DriveOf(extent, 0), other = cluster.DriveOf(extent, 1);
        cluster.Store(damaged).Fault = (operation, key, _) => operation is FragmentOperation.Stat or FragmentOperation.Read && key?.Extent == extent.Id
            ? ValueTask.FromException(new FragmentCorruptException(extent.Id, 0, 0, damaged, 1, 0, "test"))
            : default;
        cluster.Lose(other);
        RepairService repair = await cluster.StartRepairAsync();

        // The drive that is lost may come back with what makes it readable, until it is given up.
        for (int i = 0; i < 20; i++)
        {
            await repair.RunNextPassAsync(CancellationToken.None);
            cluster.Time.Advance(TimeSpan.FromSeconds(30));
        }

        Assert.True(cluster.IncompleteSlots > 0);
        cluster.GiveUp(other);
        if (isTheDrivesOwn)
            cluster.Drain(damaged);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
        Assert.Contains(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 100), entry => entry.Record.ExtentLow == (ulong)extent.Id.Value);
    }

    /// <summary>A drive that is out for good is nothing to wait for where the block is no object's.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task BlockOfWhichOnlyDamagedRecordsAreLeft_IsSearchedForInAllOfTheMetadata(bool isNamed)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(50);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b111100), commit: isNamed);
        Guid damaged = cluster.DriveOf(extent, 0);
        cluster.Store(damaged).Fault = (operation, key, _) => operation is FragmentOperation.Stat or FragmentOperation.Read && key?.Extent == extent.Id
            ? ValueTask.FromException(new FragmentCorruptException(extent.Id, 0, 0, damaged, 1, 0, "test"))
            : default;
        cluster.Lose(cluster.DriveOf(extent, 1));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.False(await repair.SearchOwnersAsync(CancellationToken.None));
        for (int i = 0; i < 20; i++)
        {
            await repair.RunNextPassAsync(CancellationToken.None);
            await repair.WorkOffQueueAsync(CancellationToken.None);
            cluster.Time.Advance(TimeSpan.FromSeconds(30));
        }

        Assert.True(cluster.IncompleteSlots > 0);
        Assert.Equal(1, repair.Status.Queued);
        Assert.True(await repair.SearchOwnersAsync(CancellationToken.None));
        Assert.False(await repair.SearchOwnersAsync(CancellationToken.None));
        for (int i = 0; i < 20; i++)
        {
            await repair.RunNextPassAsync(CancellationToken.None);
            await repair.WorkOffQueueAsync(CancellationToken.None);
            cluster.Time.Advance(TimeSpan.FromMinutes(5));
            Assert.False(await repair.SearchOwnersAsync(CancellationToken.None)); // what it says is the same, and kept up to date
        }

        Assert.Equal(isNamed, cluster.IncompleteSlots > 0);
        Assert.Equal(isNamed ? 1 : 0, repair.Status.Queued);
        Assert.Equal(0, repair.Status.BlocksUnidentified);
    }

    [Fact]
    public async Task Entry_WhoseDriveIsAway_IsPutOffAndMadeWholeWhenItIsBack()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1)), other = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        while (cluster.DriveOf(other, 0) == cluster.DriveOf(extent, 0))
        {
            cluster.Live.Remove(other);
            other = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        }

        Guid away = cluster.DriveOf(extent, 0);
        cluster.SetReachable(away, false);
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub));
        await cluster.Queue.RecordAsync(Notice(other, 0b1, RepairReason.Scrub));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
        RepairEntry left = Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10));
        Assert.Equal(((ulong)extent.Id.Value, 1), (left.Record.ExtentLow, left.Attempts));
        Assert.True(await cluster.IsIntactAsync(other, other.Keys.First(), cluster.DriveOf(other, 0)));
        cluster.SetReachable(away, true);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task EntryThatWasPutOff_IsDueAtOnceByANewMap_OnceForEach_UnlessItsDriveIsStillAway(bool restart)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        MemoryFragmentStore drive = cluster.Store(cluster.DriveOf(extent, 0));
        cluster.SetReachable(drive.DriveId, false);
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub));
        RepairService repair = await cluster.StartRepairAsync();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        cluster.RaiseEpoch();
        Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));

        // It is there and takes nothing: one attempt for each map.
        cluster.SetReachable(drive.DriveId, true);
        drive.Fault = (operation, _, _) => operation == FragmentOperation.Write ? throw new DriveFullException(drive.DriveId, 0, 1) : default;
        Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
        for (int i = 2; i < 5; i++)
        {
            cluster.RaiseEpoch();
            Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
            Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
            Assert.Equal(i, Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Attempts);
        }

        drive.Fault = null;
        if (restart)
            repair = await cluster.StartRepairAsync();
        else
            cluster.RaiseEpoch();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Entry_OfAGroupThatTheMapDoesNotHaveYet_WaitsForTheMapThatHasIt()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub));
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub) with { PlacementGroup = new PlacementGroupId(3, 999).Value, FirstBlock = 7 });
        ClusterMap map = cluster.Map;
        cluster.SetMap(new ClusterMap(map.Epoch + 1, map.Drives, new Dictionary<int, System.Collections.Immutable.ImmutableArray<System.Collections.Immutable.ImmutableArray<GroupSlot>>>(), map.GroupCount));
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal((ulong)extent.Id.Value, Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Record.ExtentLow);
        cluster.SetMap(map);
        cluster.RaiseEpoch();
        cluster.RaiseEpoch();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Notice_ThatComesWhileTheSameBlockIsRepaired_IsNotLost()
    {
        (TestCluster cluster, TestExtent extent, RepairService repair) = await QueueOneAsync(missing: 0b1, told: 0b1);
        cluster.Repairer.Before = async (_, _) =>
        {
            cluster.Repairer.Before = null;
            await cluster.Queue.RecordAsync(Notice(extent, 0b10, RepairReason.CorruptOnRead));
        };
        await repair.WorkOffQueueAsync(CancellationToken.None);
        RepairEntry entry = Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10));
        Assert.Equal(0b11UL, entry.Record.Shards);
    }

    [Fact]
    public async Task Fragment_ThatWasDamagedAndIsNoLonger_IsUsedWhereItIsAllThatIsLeft()
    {
        (TestCluster cluster, _, RepairService repair) = await QueueOneAsync(missing: 0b110, told: 0b111);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task FragmentsThatAreSuspected_WhereTooFewOthersAreLeft_AreReadAndNotBelievedByTheirHeaders()
    {
        (TestCluster cluster, TestExtent extent, RepairService repair) = await QueueOneAsync(missing: 0, told: 0b111);
        foreach (FragmentKey key in extent.Keys.Where(key => key.Shard > 0))
            Assert.True(cluster.Store(cluster.DriveOf(extent, key.Shard)).Corrupt(key, 17));
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task DeletedExtent_OfTheQueue_IsForgottenAndNotRebuilt()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent garbage = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1)), gone = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        foreach (TestExtent extent in new[] { garbage, gone })
        {
            await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.DegradedWrite));
            await cluster.DeleteAsync(extent);
        }

        await cluster.ReclaimAsync(gone);
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Empty(cluster.Repairer.Asked);
    }

    [Fact]
    public async Task DegradedWrite_IsLeftToItsWriterUntilItsVersionIsCommitted()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        await cluster.Queue.RecordAsync(Notice(extent, 0b100, RepairReason.DegradedWrite));
        RepairService repair = await cluster.StartRepairAsync();
        cluster.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Empty(cluster.Repairer.Asked);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        await cluster.CommitAsync(extent);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Status_CountsNoEntries_OfExtentsThatNothingNames()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent crashed = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        TestExtent named = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100));
        await cluster.Queue.RecordAsync(Notice(crashed, 0b100, RepairReason.DegradedWrite));
        await cluster.Queue.RecordAsync(Notice(named, 0b100, RepairReason.DegradedWrite));
        cluster.Time.Advance(TimeSpan.FromSeconds(15));
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(1, repair.Status.Queued);
        cluster.Time.Advance(TimeSpan.FromSeconds(5));
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(0, repair.Status.Queued);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());

        // A process that starts on it need not wait for the entry to be due to know.
        RepairService next = await cluster.StartRepairAsync();
        await next.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(0, next.Status.Queued);
    }

    [Fact]
    public async Task Status_OfManyEntriesThatNothingNames_IsKnownWithoutLookingAtThemAgain_UntilTheyAreNamed()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        List<TestExtent> crashed = [];
        for (int i = 0; i < 7; i++)
        {
            crashed.Add(await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false));
            await cluster.Queue.RecordAsync(Notice(crashed[i], 0b100, RepairReason.DegradedWrite));
        }

        cluster.Time.Advance(TimeSpan.FromSeconds(15));
        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { QueueBatch = 2 });
        while (await repair.WorkOffQueueAsync(CancellationToken.None))
        {
        }

        Assert.Equal(0, repair.Status.Queued);
        int asked = 0;
        foreach (MappedDrive drive in cluster.Mapped)
        {
            cluster.Store(drive.Id).Fault = (_, _, _) =>
            {
                asked++;
                return default;
            };
        }

        for (int i = 0; i < 3; i++)
        {
            cluster.Time.Advance(TimeSpan.FromSeconds(5));
            Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
            Assert.Equal(0, repair.Status.Queued);
        }

        Assert.Equal(0, asked);

        // From when its version is committed it is missing redundancy, long before it is due.
        await cluster.CommitAsync(crashed[0]);
        cluster.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(1, repair.Status.Queued);
    }

    [Fact]
    public async Task Status_WhereNothingCanBeSaidOfWhatIsNamed_CountsAll_AndTheQueueIsWorked()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent crashed = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        await cluster.Queue.RecordAsync(Notice(crashed, 0b100, RepairReason.DegradedWrite));
        cluster.Time.Advance(TimeSpan.FromSeconds(15));
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(0, repair.Status.Queued);
        cluster.Time.Advance(TimeSpan.FromSeconds(5));
        bool failed = false;
        cluster.Metadata.OnCall = call =>
        {
            if (call.Method != "FindExtents" || failed)
                return null;
            failed = true;
            return new StoreFault { Fail = new MetadataStoreException("test") };
        };
        TestExtent named = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100));
        await cluster.Queue.RecordAsync(Notice(named, 0b100, RepairReason.Scrub));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.True(failed);
        Assert.Equal(2, repair.Status.Queued);
        await cluster.AssertWholeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Drive_ThatHangsOrFailsUnforeseen_KeepsNoOtherEntryFromBeingRepaired(bool hangs)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent first = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        MemoryFragmentStore bad = cluster.Store(cluster.DriveOf(first, 1));
        List<TestExtent> others = [];
        while (others.Count < 3)
        {
            TestExtent other = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
            if (Enumerable.Range(0, 3).All(shard => cluster.DriveOf(other, shard) != bad.DriveId))
                others.Add(other);
        }

        foreach (TestExtent extent in others.Prepend(first))
            await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub));
        TaskCompletionSource never = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bad.Fault = (operation, _, _) => operation != FragmentOperation.Stat ? default : hangs ? new ValueTask(never.Task) : throw new InvalidOperationException("test");
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.LetTimePassUntilAsync(repair.WorkOffQueueAsync(CancellationToken.None));
        foreach (TestExtent other in others)
            Assert.True(await cluster.IsIntactAsync(other, other.Keys.First(), cluster.DriveOf(other, 0)));
        never.SetResult();
    }

    [Fact]
    public async Task Entry_WhoseGroupComesIntoTheMapWhileItIsLookedAt_IsNotTakenForDeleted()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1)), other = await cluster.WriteAsync(Coded, without: new ShardSet(0b1));
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub));
        await cluster.Queue.RecordAsync(Notice(other, 0b1, RepairReason.Scrub));
        ClusterMap map = cluster.Map;
        cluster.SetMap(new ClusterMap(map.Epoch + 1, map.Drives, new Dictionary<int, System.Collections.Immutable.ImmutableArray<System.Collections.Immutable.ImmutableArray<GroupSlot>>>
        {
            [6] = [.. Enumerable.Range(0, map.GroupCount).Select(index => System.Collections.Immutable.ImmutableArray.CreateRange(map.SlotsOf(new PlacementGroupId(6, index))))],
        }, map.GroupCount));
        bool changed = false;
        cluster.Metadata.OnCall = call =>
        {
            if (call.Method == "FindExtents" && !changed)
            {
                changed = true;
                cluster.SetMap(map);
                cluster.RaiseEpoch();
                cluster.RaiseEpoch();
            }

            return null;
        };
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.True(changed);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Entry_OfAGroupThatNoMapHasForADay_IsDropped()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3);
        await cluster.Queue.RecordAsync(Notice(extent, 0b1, RepairReason.Scrub) with { PlacementGroup = new PlacementGroupId(7, 3).Value });
        RepairService repair = await cluster.StartRepairAsync();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        cluster.Time.Advance(TimeSpan.FromHours(25));
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal(0, await cluster.Metadata.CountRepairsAsync());
    }

    [Fact]
    public async Task EntriesThatAreMadeDueByANewMap_AreRecordedABatchAtATime()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        for (int i = 0; i < 7; i++)
            await cluster.Queue.RecordAsync(Notice(await cluster.WriteAsync(Copies3, without: new ShardSet(0b1), commit: false), 0b1, RepairReason.Scrub));
        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { QueueBatch = 3 });
        while (await repair.WorkOffQueueAsync(CancellationToken.None))
        {
        }

        List<int> recorded = [];
        cluster.Metadata.OnCall = call =>
        {
            if (call.Method == "RecordRepairs")
                recorded.Add(((System.Collections.Immutable.ImmutableArray<RepairRecord>)call.Argument!).Length);
            return null;
        };
        cluster.RaiseEpoch();
        Assert.True(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.Equal([3, 3, 1], recorded);
    }

    [Fact]
    public async Task LostBlocks_OfADeletedExtent_AreForgotten()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Coded, 8000, 4096, without: new ShardSet(0b111));
        await cluster.Queue.RecordAsync(Notice(extent, 0b111, RepairReason.Scrub) with { BlockCount = 2 });
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(2, repair.Status.BlocksLost);
        await cluster.DeleteAsync(extent);
        await cluster.ReclaimAsync(extent);
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Equal((0, 0), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
    }

    [Fact]
    public async Task LostBlock_OfWhichADriveGoesOut_IsAwaitedAndNotLost()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b111));
        await cluster.Queue.RecordAsync(Notice(extent, 0b111, RepairReason.Scrub));
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal((1, 0), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
        cluster.TakeOut(cluster.DriveOf(extent, 3));
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal((0, 1), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
    }

    [Fact]
    public async Task Block_WithNothingToSpare_DoesNotRestForTheClients()
    {
        var latency = new TestLatency();
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9, latency: latency);
        cluster.Governor.Observe();
        using IDisposable busy = cluster.Governor.BusyByShare();
        latency.P99 = TimeSpan.FromSeconds(1);
        while (cluster.Governor.Share > LoadGovernor.LeastShare)
            cluster.Governor.Observe();
        TestExtent endangered = await cluster.WriteAsync(Coded, without: new ShardSet(0b11)), other = await cluster.WriteAsync(new Scheme(3, 3), without: new ShardSet(0b1));
        cluster.Repairer.Before = (_, _) =>
        {
            cluster.Time.Advance(TimeSpan.FromMilliseconds(10));
            return default;
        };
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.Queue.RecordAsync(Notice(endangered, 0b11, RepairReason.Scrub));
        await repair.WorkOffQueueAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(TimeSpan.FromMilliseconds(10), repair.Status.Active);

        // One that can still lose two fragments rests, and its rest is time that repair took.
        await cluster.Queue.RecordAsync(Notice(other, 0b1, RepairReason.Scrub));
        await cluster.LetTimePassUntilAsync(repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.True(repair.Status.Active >= TimeSpan.FromMilliseconds(10 + 10 + 2), $"{repair.Status.Active}");
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Step_ThatFailsWhileTheServiceStops_IsNoFailureOfTheService()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        RepairService repair = cluster.CreateRepair();
        TaskCompletionSource<Task> stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Metadata.OnCall = call => call.Method == "ListRepairs" && stopped.TrySetResult(repair.StopAsync(CancellationToken.None))
            ? new StoreFault { Fail = new DriveUnavailableException(Guid.Empty, "test") }
            : null;
        await repair.StartAsync(CancellationToken.None);
        await (await stopped.Task.WaitAsync(TimeSpan.FromSeconds(30))).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.True(repair.ExecuteTask!.IsCompletedSuccessfully, $"{repair.ExecuteTask.Exception}");
        Assert.Empty(await cluster.Metadata.ListCursorsAsync("repair/running"));
    }

    [Fact]
    public async Task UnknownMap_LeavesTheQueueAndTheCursorsAlone()
    {
        (TestCluster cluster, _, RepairService repair) = await QueueOneAsync(missing: 0b1, told: 0b1);
        ClusterMap map = cluster.Map;
        cluster.SetMap(ClusterMap.Unknown);
        Assert.False(await repair.WorkOffQueueAsync(CancellationToken.None));
        Assert.False(await repair.RunNextPassAsync(CancellationToken.None));
        Assert.Equal(0, Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Attempts);
        Assert.Empty(await cluster.Metadata.ListCursorsAsync("repair/recent"));
        cluster.SetMap(map);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Repairer_ThatThrows_CostsOneAttemptAndNoOther()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent bad = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1)), good = await cluster.WriteAsync(Copies3, without: new ShardSet(0b1));
        await cluster.Queue.RecordAsync(Notice(bad, 0b1, RepairReason.Scrub));
        await cluster.Queue.RecordAsync(Notice(good, 0b1, RepairReason.Scrub));
        bool thrown = false;
        cluster.Repairer.Before = (work, _) =>
        {
            if (work.Extent != bad.Id || thrown)
                return default;
            thrown = true;
            throw new InvalidOperationException("test");
        };
        RepairService repair = await cluster.StartRepairAsync();
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal((ulong)bad.Id.Value, Assert.Single(await cluster.Metadata.ListRepairsAsync(long.MaxValue, 10)).Record.ExtentLow);
        Assert.Contains("test", repair.Status.LastFailure);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    /// <summary>An extent that lacks some copies, with a notice of it in the queue.</summary>
    private static async Task<(TestCluster Cluster, TestExtent Extent, RepairService Repair)> QueueOneAsync(ulong missing, ulong told)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(missing));
        await cluster.Queue.RecordAsync(Notice(extent, told, RepairReason.CorruptOnRead));
        return (cluster, extent, await cluster.StartRepairAsync());
    }

    private static RepairNotice Notice(TestExtent extent, ulong shards, RepairReason reason) => new(extent.Id, extent.Group, extent.Scheme, 0, 1, new ShardSet(shards), reason);
}

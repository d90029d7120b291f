using System.Collections.Immutable;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Grains.Tests;

/// <summary>The map of a pool, and what drives and nodes do to it.</summary>
public sealed class PlacementTests(SmallPoolCluster shared) : GrainTest(shared), IClassFixture<SmallPoolCluster>
{
    private readonly string _pool = $"pool{Make.Next()}";

    private IPlacementGrain Pool => Cluster.Grains.GetGrain<IPlacementGrain>(_pool);

    [Fact]
    public async Task Map_OfANewPool_IsNone()
    {
        PlacementMap map = (await Pool.GetMapAsync())!;
        Assert.Equal((0, 0), (map.Epoch, map.Encoded.Length));
        Assert.Null(await Pool.GetMapAsync(0));
        Assert.Empty(await Pool.GetDrivesAsync());
    }

    [Fact]
    public async Task RegisterDrives_RaisesTheEpochOnlyWhenSomethingChanges()
    {
        ClusterMap first = Decode(await Pool.RegisterDrivesAsync(Registration("n", Drive(1), Drive(2), Drive(3))));
        Assert.Equal((1, 32), (first.Epoch, first.GroupCount));
        Assert.Empty(first.Widths);
        Assert.Equal(1, (await Pool.RegisterDrivesAsync(Registration("n", Drive(1)))).Epoch);
        Assert.Equal(1, (await Pool.RegisterDrivesAsync(Registration("n", Drive(1) with { CapacityBytes = 96L << 30 }))).Epoch);
        Assert.Equal(1, (await Pool.RegisterDrivesAsync(Registration("n", Drive(1) with { CapacityBytes = 0 }))).Epoch);
        Assert.Null(await Pool.GetMapAsync(1));

        ClusterMap grown = Decode(await Pool.RegisterDrivesAsync(Registration("n", Drive(1) with { CapacityBytes = 200L << 30 }, Drive(4))));
        Assert.Equal(2, grown.Epoch);
        Assert.Equal([Id(1), Id(2), Id(3), Id(4)], grown.Drives.Select(drive => drive.Id));
        Assert.Equal([200, 100, 100, 100], grown.Drives.Select(drive => drive.Weight));
        Assert.Equal(2, (await Pool.GetMapAsync(1))!.Epoch);
        Assert.Equal(3, Decode(await Pool.RegisterDrivesAsync(Registration("n", Drive(2) with { Weight = 7 }))).Epoch);
    }

    [Fact]
    public async Task RequireGroups_AddsThoseThatTheDrivesAllow_Once()
    {
        Assert.Equal(0, (await Pool.RequireGroupsAsync(new Scheme(6, 3).Id)).Epoch);
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 8).Select(Drive)]));
        ClusterMap eight = Decode(await Pool.RequireGroupsAsync(new Scheme(6, 3).Id));
        Assert.Equal(2, eight.Epoch);
        Assert.Equal([8], eight.Widths);
        Assert.Equal(eight.Epoch, (await Pool.RequireGroupsAsync(new Scheme(5, 3).Id)).Epoch);
        Assert.Equal([3, 8], Decode(await Pool.RequireGroupsAsync(Scheme.Copies(3).Id)).Widths);

        // As wide as there are drives when it is asked for; what is there stays.
        await Pool.RegisterDrivesAsync(Registration("n", Drive(9), Drive(10)));
        Assert.Equal([3, 8], (await MapAsync()).Widths);
        Assert.Equal([3, 8, 9], Decode(await Pool.RequireGroupsAsync(new Scheme(6, 3).Id)).Widths);
        ClusterMap map = await MapAsync();
        Assert.All(map.Groups.Where(group => group.Width == 9).SelectMany(map.SlotsOf), slot => Assert.True(slot is { IsComplete: true, Drive: not null }));
        Assert.Empty(MapRules.Check(map));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => Pool.RequireGroupsAsync(0x10000));
    }

    [Fact]
    public async Task RequireGroups_ByManyAtOnce_MakesThemOnce()
    {
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 12).Select(Drive)]));
        PlacementMap[] maps = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Pool.RequireGroupsAsync(i % 2 == 0 ? Scheme.Copies(3).Id : new Scheme(6, 3).Id)));
        Assert.All(maps, (map, i) => Assert.Contains(i % 2 == 0 ? 3 : 9, Decode(map).Widths));
        Assert.Equal(3, (await MapAsync()).Epoch);
    }

    [Fact]
    public async Task Drain_OfAPoolInWhichNothingIsStored_IsDoneAtOnce()
    {
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 3).Select(Drive)]));
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.Drain)).Status);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.Remove)).Status);
    }

    [Fact]
    public async Task Drains_AtTheSameTime_LeaveADriveForEachShard_UnlessForced()
    {
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 5).Select(Drive)]));
        await Pool.RequireGroupsAsync(Scheme.Copies(3).Id);
        DriveChange[] changes = await Task.WhenAll(Enumerable.Range(1, 4).Select(number => Pool.SetDriveAsync(Name(number), number % 2 == 0 ? DriveOrder.Drain : DriveOrder.TakeOut)));
        Assert.Equal((2, 2), (changes.Count(change => change.Status == DriveChangeStatus.Changed), changes.Count(change => change.Status == DriveChangeStatus.TooFewDrives)));
        Assert.Equal("2 drives would be left, too few for schemes of 3 shards that something has been stored in", changes.First(change => change.Status == DriveChangeStatus.TooFewDrives).Reason);
        Assert.Equal(3, (await Pool.GetDrivesAsync()).Count(drive => drive.State == PoolDriveState.In));

        // One that has left already takes no other drive with it.
        int gone = Array.FindIndex(changes, change => change.Status == DriveChangeStatus.Changed) + 1;
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(gone), gone % 2 == 0 ? DriveOrder.TakeOut : DriveOrder.Drain)).Status);
        Assert.Equal(DriveChangeStatus.TooFewDrives, (await Pool.SetDriveAsync(Name(5), DriveOrder.Drain)).Status);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(5), DriveOrder.Drain, force: true)).Status);
    }

    [Fact]
    public async Task RegisterDrives_OfANodeThatKnowsGroupsWhichThePoolHasLost_TakesThem()
    {
        await RegisterAsync(6);
        PlacementMap rich = (await Pool.GetMapAsync())!;
        IPlacementGrain older = Cluster.Grains.GetGrain<IPlacementGrain>(_pool + "-older");
        NodeRegistration registration = new(_pool + "-older", "n", [.. Enumerable.Range(1, 6).Select(Drive)]);
        await older.RegisterDrivesAsync(registration);
        foreach (DriveOrder order in (DriveOrder[])[DriveOrder.Drain, DriveOrder.Use, DriveOrder.Drain, DriveOrder.Use, DriveOrder.Drain, DriveOrder.Use])
            await older.SetDriveAsync(Name(1), order);
        Assert.True((await older.GetMapAsync())!.Epoch > rich.Epoch);
        Assert.Equal(Decode(rich).Widths, Decode(await older.RegisterDrivesAsync(registration with { KnownMap = rich.Encoded })).Widths);
    }

    [Fact]
    public async Task RegisterDrives_FromManyNodesAtOnce_KeepsAll()
    {
        await Task.WhenAll(Enumerable.Range(0, 10).Select(i =>
            Cluster.Grains.GetGrain<IStorageNodeGrain>($"{_pool}/node{i}").RegisterAsync(Registration("", Drive(10 * i + 1), Drive(10 * i + 2)))));
        ClusterMap map = await MapAsync();
        Assert.Equal(10, map.Epoch);
        Assert.Equal(20, map.Drives.Count);
        Assert.Empty(MapRules.Check(map));
    }

    [Fact]
    public async Task RegisterDrives_OfWhatIsNoDrive_IsRefused()
    {
        await Assert.ThrowsAnyAsync<ArgumentException>(() => Pool.RegisterDrivesAsync(Registration("n", Drive(1) with { DriveId = "one" })));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => Pool.RegisterDrivesAsync(Registration("n", Drive(1)) with { KnownMap = [1, 2, 3] }));
        Assert.Equal(0, (await Pool.GetMapAsync())!.Epoch);
    }

    [Fact]
    public async Task RegisterDrives_AfterThePoolLostItsState_TakesTheNodesMap()
    {
        await RegisterAsync(6);
        await Pool.SetDriveAsync(Name(2), DriveOrder.Drain, force: true);
        PlacementMap known = (await Pool.GetMapAsync())!;
        IPlacementGrain lost = Cluster.Grains.GetGrain<IPlacementGrain>(_pool + "-anew");
        NodeRegistration registration = new(_pool + "-anew", "n", [.. Enumerable.Range(1, 6).Select(number => Drive(number))], known.Encoded);
        PlacementMap adopted = await lost.RegisterDrivesAsync(registration);
        Assert.Equal(known.Encoded, adopted.Encoded);
        Assert.Equal(PoolDriveState.Draining, (await lost.GetDrivesAsync())[1].State);

        // An older map is not taken for a newer one.
        await lost.SetDriveAsync(Name(3), DriveOrder.Drain, force: true);
        Assert.Equal(known.Epoch + 1, (await lost.RegisterDrivesAsync(registration)).Epoch);
    }

    [Fact]
    public async Task Drain_EndsWithAnEmptyDrive_ThatCanBeRemoved()
    {
        await RegisterAsync(6);
        Assert.Equal(DriveChangeStatus.StillNeeded, (await Pool.SetDriveAsync(Name(3), DriveOrder.Remove)).Status);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(3), DriveOrder.Drain, force: true)).Status);
        Assert.Equal(DriveChangeStatus.Unchanged, (await Pool.SetDriveAsync(Name(3), DriveOrder.Drain, force: true)).Status);
        ClusterMap draining = await MapAsync();
        Assert.DoesNotContain(draining.Groups.SelectMany(draining.SlotsOf), slot => slot.Drive == Id(3));
        PoolDrive drive = (await Pool.GetDrivesAsync())[2];
        Assert.True(drive is { State: PoolDriveState.Draining, Slots: 0, SourceOf: > 0 });
        Assert.Equal(DriveChangeStatus.StillNeeded, (await Pool.SetDriveAsync(Name(3), DriveOrder.Remove)).Status);

        // The tables of width 6 have a slot too many for five drives; as nothing takes it, nothing can complete it.
        CompletedSlots completed = await Pool.CompleteSlotsAsync([.. Filled(draining)]);
        Assert.Equal((draining.Epoch + 1, Filled(draining).Count()), (completed.Epoch, completed.Completed));
        Assert.Equal(0, (await Pool.CompleteSlotsAsync([.. Filled(draining)])).Completed);
        await RegisterAsync(8);
        ClusterMap wide = await MapAsync();
        await Pool.CompleteSlotsAsync([.. Filled(wide)]);
        Assert.Equal(0, (await Pool.GetDrivesAsync())[2].SourceOf);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(3), DriveOrder.Remove)).Status);
        Assert.DoesNotContain(await MapAsync() is var map ? map.Drives : [], each => each.Id == Id(3));

        // It does not come back by itself.
        long epoch = (await Pool.GetMapAsync())!.Epoch;
        Assert.Equal(epoch, (await Pool.RegisterDrivesAsync(Registration("n", Drive(3)))).Epoch);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(3), DriveOrder.Use)).Status);
        Assert.Contains((await MapAsync()).Drives, each => each.Id == Id(3) && each.Weight > 0);
    }

    [Fact]
    public async Task GiveUp_OfADriveThatIsOut_LeavesNoSlotThatNamesIt_AndOfOneThatIsNotIsRefused()
    {
        await RegisterAsync(12);
        Assert.Equal(DriveChangeStatus.StillNeeded, (await Pool.SetDriveAsync(Name(1), DriveOrder.GiveUp)).Status);
        await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true);
        Assert.Equal(DriveChangeStatus.StillNeeded, (await Pool.SetDriveAsync(Name(1), DriveOrder.GiveUp)).Status);
        await Pool.SetDriveAsync(Name(1), DriveOrder.TakeOut, force: true);
        await Pool.ReportDrivesAsync([new DriveVerdict(Name(2), "n", IsLost: true)]);
        ClusterMap before = await MapAsync();
        Assert.Contains(before.Groups.SelectMany(before.SlotsOf), slot => slot.Absent.Contains(Id(1)));
        Assert.Contains(before.Groups.SelectMany(before.SlotsOf), slot => slot.Absent.Contains(Id(2)));
        foreach (int number in (int[])[1, 2])
        {
            Assert.Equal(DriveChangeStatus.StillNeeded, (await Pool.SetDriveAsync(Name(number), DriveOrder.Remove)).Status);
            Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(number), DriveOrder.GiveUp)).Status);
            Assert.Equal(DriveChangeStatus.Unchanged, (await Pool.SetDriveAsync(Name(number), DriveOrder.GiveUp)).Status);
        }

        ClusterMap after = await MapAsync();
        Assert.Equal(10, after.Drives.Count);
        Assert.All(after.Groups.SelectMany(after.SlotsOf), slot => Assert.True(slot.Absent.IsEmpty && slot.Drive != Id(1) && slot.Drive != Id(2)));

        // What is to be made is still to be made, and can be completed now.
        Assert.Equal(
            before.Groups.SelectMany(group => before.SlotsOf(group).Select((slot, number) => (group, number, slot))).Where(each => !each.slot.IsComplete).Select(each => (each.group, each.number)),
            after.Groups.SelectMany(group => after.SlotsOf(group).Select((slot, number) => (group, number, slot))).Where(each => !each.slot.IsComplete).Select(each => (each.group, each.number)));
        Assert.Equal(Filled(after).Count(), (await Pool.CompleteSlotsAsync([.. Filled(after)])).Completed);

        // It comes back by order only.
        await Pool.RegisterDrivesAsync(Registration("n", Drive(1)));
        Assert.DoesNotContain((await MapAsync()).Drives, drive => drive.Id == Id(1));
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.Use)).Status);
        Assert.Contains((await MapAsync()).Drives, drive => drive.Id == Id(1));
    }

    [Fact]
    public async Task CompleteSlots_ByAnOlderMap_ArePassedOver()
    {
        await RegisterAsync(9);
        await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true);
        ClusterMap one = await MapAsync();
        await Pool.SetDriveAsync(Name(1), DriveOrder.Use);
        await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true);
        ClusterMap three = await MapAsync();
        int same = Filled(one).Count(slot => three.SlotsOf(new PlacementGroupId(slot.Group))[slot.Slot] is { } now && now.Drive == Guid.Parse(slot.DriveId) && now.Since <= one.Epoch);
        CompletedSlots completed = await Pool.CompleteSlotsAsync([.. Filled(one)]);
        Assert.Equal(same, completed.Completed);
        Assert.True(completed.Completed < Filled(three).Count());
    }

    [Fact]
    public async Task SetDrive_WhereItCannotBe_IsRefused()
    {
        Assert.Equal(DriveChangeStatus.NoSuchDrive, (await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true)).Status);
        await RegisterAsync(1);
        Assert.Equal(DriveChangeStatus.LastDrive, (await Pool.SetDriveAsync(Name(1), DriveOrder.TakeOut, force: true)).Status);
        Assert.Equal(DriveChangeStatus.LastDrive, (await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true)).Status);
        Assert.Equal(2, (await Pool.GetMapAsync())!.Epoch);
    }

    [Fact]
    public async Task ReportDrives_ThatWouldGiveUpMost_IsRefused_AndAnOrderIsNot()
    {
        await RegisterAsync(4);
        DriveVerdict[] verdicts = [.. Enumerable.Range(1, 3).Select(number => new DriveVerdict(Name(number), "n", true))];
        Assert.Equal(
            [DriveChangeStatus.Changed, DriveChangeStatus.Changed, DriveChangeStatus.TooMuchLost], (await Pool.ReportDrivesAsync([.. verdicts])).Select(change => change.Status));
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(3), DriveOrder.TakeOut, force: true)).Status);
        ClusterMap map = await MapAsync();
        Assert.Equal([false, false, false, true], map.Drives.Select(drive => drive.IsReadable));
        Assert.Equal(DriveChangeStatus.NoSuchDrive, Assert.Single(await Pool.ReportDrivesAsync([verdicts[0] with { NodeId = "another", IsLost = false }])).Status);
        Assert.Equal(DriveChangeStatus.Changed, Assert.Single(await Pool.ReportDrivesAsync([verdicts[0] with { IsLost = false }])).Status);

        // What an operator took out stays out, whatever its node says.
        await Pool.RegisterDrivesAsync(Registration("n", Drive(2), Drive(3)));
        Assert.Equal(
            [PoolDriveState.In, PoolDriveState.In, PoolDriveState.Out, PoolDriveState.In], (await Pool.GetDrivesAsync()).Select(drive => drive.State));
    }

    [Fact]
    public async Task Node_IsSuspectWhenAHeartbeatIsOverdue_AndDownAfterTheGrace()
    {
        IStorageNodeGrain node = Node("node");
        Assert.Equal(NodeState.Unknown, (await node.GetStatusAsync()).State);
        await node.RegisterAsync(Registration("", Drive(1)));
        NodeStatus registered = await node.GetStatusAsync();
        Assert.Equal((NodeState.Up, NodeState.Up), (registered.State, Assert.Single(registered.Drives).State));
        Assert.Equal(Name(1), registered.Drives[0].Report.DriveId);

        Cluster.Time.Advance(TimeSpan.FromSeconds(9));
        Assert.Equal(NodeState.Suspect, (await node.GetStatusAsync()).State);
        Cluster.Time.Advance(TimeSpan.FromSeconds(7));
        NodeStatus down = await node.GetStatusAsync();
        Assert.Equal((NodeState.Down, NodeState.Down), (down.State, down.Drives[0].State));
        Assert.True(down.Drives[0].DownForMs > 15_000);
        Assert.Null(await node.HeartbeatAsync(new NodeHeartbeat(1, [Report(1) with { FreeBytes = 400 }])));
        NodeStatus back = await node.GetStatusAsync();
        Assert.Equal((NodeState.Up, NodeState.Up, 400), (back.State, back.Drives[0].State, back.Drives[0].Report.FreeBytes));
        Assert.True(back.LastHeartbeatUnixMs > registered.LastHeartbeatUnixMs);
    }

    [Fact]
    public async Task Heartbeat_AnswersWithANewerMap()
    {
        IStorageNodeGrain node = Node("node");
        long epoch = (await node.RegisterAsync(Registration("", Drive(1), Drive(2)))).Epoch;
        Assert.Null(await node.HeartbeatAsync(new NodeHeartbeat(epoch, [Report(1), Report(2)])));
        await Node("other").RegisterAsync(Registration("", Drive(3)));
        Assert.Equal(epoch + 1, (await node.HeartbeatAsync(new NodeHeartbeat(epoch, [Report(1), Report(2)])))!.Epoch);
    }

    [Fact]
    public async Task Drive_ThatFails_IsDownAtOnce_OutAfterATime_AndTakenBackWhenItWorks()
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", Drive(1), Drive(2), Drive(3), Drive(4)));
        NodeHeartbeat failed = new(1, [Report(1) with { Condition = DriveCondition.Failed, Reason = "hangs" }, Report(2), Report(3) with { ErrorCount = 2 }, Report(4) with { Condition = DriveCondition.Full }]);
        await node.HeartbeatAsync(failed);
        Assert.Equal([NodeState.Down, NodeState.Up, NodeState.Suspect, NodeState.Up], (await node.GetStatusAsync()).Drives.Select(drive => drive.State));
        await node.CheckAsync();
        Assert.Equal(1, (await MapAsync()).Epoch);

        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(failed);
        await node.CheckAsync();
        ClusterMap without = await MapAsync();
        Assert.Equal(2, without.Epoch);
        Assert.Equal([false, true, true, true], without.Drives.Select(drive => drive.IsReadable));
        NodeStatus status = await node.GetStatusAsync();
        Assert.Equal([NodeState.Out, NodeState.Up, NodeState.Up, NodeState.Up], status.Drives.Select(drive => drive.State));
        Assert.Equal("hangs", status.Drives[0].Report.Reason);

        await node.HeartbeatAsync(failed with { Drives = [Report(1), .. failed.Drives[1..]] });
        ClusterMap with = await MapAsync();
        Assert.Equal(3, with.Epoch);
        Assert.All(with.Drives, drive => Assert.True(drive.IsReadable && drive.Weight > 0));
        Assert.Equal(NodeState.Up, (await node.GetStatusAsync()).Drives[0].State);
    }

    [Fact]
    public async Task DrivesThatComeBackTogether_AreTakenBackInOneStep_AndHaveTheSlotsTheyHad()
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", [.. Enumerable.Range(1, 9).Select(number => Drive(number))]));
        await Pool.RequireGroupsAsync(new Scheme(6, 3).Id);
        ClusterMap before = await MapAsync();
        NodeHeartbeat without = new(1, [.. Enumerable.Range(1, 9).Select(number => number is 2 or 4 or 5 ? Report(number) with { Condition = DriveCondition.Failed } : Report(number))]);
        await node.HeartbeatAsync(without);
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(without);
        await node.CheckAsync();
        Assert.Equal((before.Epoch + 1, 3), ((await MapAsync()).Epoch, (await MapAsync()).Drives.Count(drive => !drive.IsReadable)));
        await node.HeartbeatAsync(new NodeHeartbeat(1, [.. Enumerable.Range(1, 9).Select(number => Report(number))]));
        ClusterMap back = await MapAsync();
        Assert.Equal(before.Epoch + 2, back.Epoch);
        Assert.All(before.Groups, group => Assert.Equal(before.SlotsOf(group).Select(slot => slot.Drive), back.SlotsOf(group).Select(slot => slot.Drive)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task DriveThatWasRemoved_IsJudgedAnew_WhenItIsTakenBack(bool works)
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", Drive(1), Drive(2), Drive(3), Drive(4)));
        NodeHeartbeat failed = new(1, [Report(1) with { Condition = DriveCondition.Failed }, Report(2), Report(3), Report(4)]), working = new(1, [Report(1), Report(2), Report(3), Report(4)]);
        await node.HeartbeatAsync(failed);
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(failed);
        await node.CheckAsync();
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.GiveUp, force: true)).Status);
        await node.RegisterAsync(Registration("", Drive(2), Drive(3), Drive(4))); // its node starts anew, without it
        await node.HeartbeatAsync(works ? working : failed);
        await node.CheckAsync();
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.Use)).Status);
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(works ? working : failed);
        await node.CheckAsync();
        Assert.Equal(works ? PoolDriveState.In : PoolDriveState.Lost, (await Pool.GetDrivesAsync())[0].State);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Drive_OfWhichACopyIsSetAside_IsUp_WhicheverIsReportedFirst(bool copyFirst)
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", Drive(1), Drive(2), Drive(3)));
        DriveReport copy = Report(1) with { Condition = DriveCondition.Failed, Path = "/copy", Reason = "it is here twice" };
        NodeHeartbeat heartbeat = new(1, copyFirst ? [copy, Report(1), Report(2), Report(3)] : [Report(1), Report(2), Report(3), copy]);
        await node.HeartbeatAsync(heartbeat);
        Assert.All((await node.GetStatusAsync()).Drives, drive => Assert.Equal((NodeState.Up, null), (drive.State, drive.Report.Reason)));
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(heartbeat);
        await node.CheckAsync();
        Assert.Equal(1, (await MapAsync()).Epoch);

        // Where none of both is in use it has failed.
        await node.HeartbeatAsync(new NodeHeartbeat(1, [copy, Report(2), Report(3), copy]));
        Assert.Equal(NodeState.Down, (await node.GetStatusAsync()).Drives[0].State);
    }

    [Fact]
    public async Task Node_SilentForLong_LosesItsDrives_AndGetsThemBackByRegistering()
    {
        IStorageNodeGrain dead = Node("dead"), live = Node("live");
        await dead.RegisterAsync(Registration("", Drive(1)));
        await live.RegisterAsync(Registration("", Drive(2), Drive(3)));
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await live.HeartbeatAsync(new NodeHeartbeat(2, [Report(2), Report(3)]));
        await live.CheckAsync();
        await dead.CheckAsync();
        Assert.Equal([false, true, true], (await MapAsync()).Drives.Select(drive => drive.IsReadable));
        Assert.Equal(NodeState.Out, (await dead.GetStatusAsync()).State);
        await dead.RegisterAsync(Registration("", Drive(1)));
        Assert.All((await MapAsync()).Drives, drive => Assert.True(drive.IsReadable));
        Assert.Equal(NodeState.Up, (await dead.GetStatusAsync()).State);
    }

    [Fact]
    public async Task Drive_ThatIsNotAnnouncedAfterARestart_IsMissed_AndOneThatMovedToAnotherNodeIsNot()
    {
        IStorageNodeGrain node = Node("node"), other = Node("other");
        await node.RegisterAsync(Registration("", Drive(1), Drive(2), Drive(3), Drive(4)));
        await other.RegisterAsync(Registration("", Drive(2)));
        await node.RegisterAsync(Registration("", Drive(3), Drive(4)));
        Assert.Equal([(Name(1), NodeState.Down), (Name(3), NodeState.Up), (Name(4), NodeState.Up)], (await node.GetStatusAsync()).Drives.Select(drive => (drive.Report.DriveId, drive.State)));
        Cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await node.HeartbeatAsync(new NodeHeartbeat(1, [Report(3), Report(4)]));
        await other.HeartbeatAsync(new NodeHeartbeat(1, [Report(2)]));
        await node.CheckAsync();
        Assert.Equal([false, true, true, true], (await MapAsync()).Drives.Select(drive => drive.IsReadable));
    }

    [Fact]
    public async Task Drain_ShowsInTheNodesStatus()
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", Drive(1)));
        await Node("other").RegisterAsync(Registration("", Drive(2)));
        await Pool.SetDriveAsync(Name(1), DriveOrder.Drain, force: true);
        Assert.Equal(NodeState.Draining, (await node.GetStatusAsync()).State);
        await node.HeartbeatAsync(new NodeHeartbeat(0, [Report(1), new DriveReport("", 0, 0, 0, DriveCondition.Failed, "/d9", "its identity is damaged")]));
        NodeStatus status = await node.GetStatusAsync();
        Assert.Equal([NodeState.Draining, NodeState.Down], status.Drives.Select(drive => drive.State));
        Assert.Equal("/d9", status.Drives[1].Report.Path);
    }

    [Fact]
    public async Task DriveThatStaysFull_LosesItsShareStepByStep_AndGetsItBackWithRoom()
    {
        await RegisterWithRoomAsync();
        await TellAsync(15, full: 1);
        await WaitAsync(TimeSpan.FromMinutes(9), full: 1);
        Assert.All(await Pool.GetDrivesAsync(), drive => Assert.Equal(0, drive.Reduction));
        int slots = (await Pool.GetDrivesAsync())[0].Slots;
        await WaitAsync(TimeSpan.FromMinutes(2), full: 1);
        PoolDrive[] first = [.. await Pool.GetDrivesAsync()];
        Assert.Equal((0.1, 100.0), (first[0].Reduction, first[0].Weight));
        Assert.InRange(first[0].Slots, slots * 0.8, slots * 0.97);
        Assert.All(first[1..], drive => Assert.Equal(0, drive.Reduction));
        ClusterMap map = await MapAsync();
        Assert.Equal(90, map.Drives[0].Weight, 6);
        Assert.Empty(MapRules.Check(map));

        await WaitAsync(TimeSpan.FromMinutes(25), full: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);
        // What is on its way is waited for, and then for the room that its deletion gives back.
        await Pool.CompleteSlotsAsync([.. Filled(map)]);
        await WaitAsync(TimeSpan.FromMinutes(9), full: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);
        await WaitAsync(TimeSpan.FromMinutes(2), full: 1);
        Assert.Equal(0.2, (await Pool.GetDrivesAsync())[0].Reduction);
        await Pool.CompleteSlotsAsync([.. Filled(await MapAsync())]);

        // Neither full nor emptier than the others: it stays as it is.
        await WaitAsync(TimeSpan.FromMinutes(25), full: 0);
        Assert.Equal(0.2, (await Pool.GetDrivesAsync())[0].Reduction);
        await WaitAsync(TimeSpan.FromMinutes(12), full: 0, empty: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);
        await Pool.CompleteSlotsAsync([.. Filled(await MapAsync())]);
        Assert.Equal(DriveChangeStatus.Changed, (await Pool.SetDriveAsync(Name(1), DriveOrder.Use)).Status);
        Assert.Equal(0, (await Pool.GetDrivesAsync())[0].Reduction);
        Assert.Equal(100, (await MapAsync()).Drives[0].Weight);
    }

    [Fact]
    public async Task FullDrive_KeepsItsShare_WhereNoOtherHasRoom_OneIsNotHeardOf_OrNothingCanMove()
    {
        await RegisterWithRoomAsync();
        foreach (int minute in Enumerable.Range(0, 25))
        {
            await TellAsync(15, full: 1, freeGibibytes: 9);
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
        }

        Cluster.Time.Advance(TimeSpan.FromMinutes(5));
        foreach (int minute in Enumerable.Range(0, 25))
        {
            await TellAsync(14, full: 1); // the fifteenth was heard of before
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
        }

        Assert.All(await Pool.GetDrivesAsync(), drive => Assert.Equal(0, drive.Reduction));
        await WaitAsync(TimeSpan.FromMinutes(12), full: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);

        // Three drives for three copies: each has a copy of all.
        IPlacementGrain narrow = Cluster.Grains.GetGrain<IPlacementGrain>(_pool + "-narrow");
        await narrow.RegisterDrivesAsync(new NodeRegistration(_pool + "-narrow", "n", [.. Enumerable.Range(1, 3).Select(Drive)]));
        long epoch = (await narrow.RequireGroupsAsync(Scheme.Copies(3).Id)).Epoch;
        foreach (int minute in Enumerable.Range(0, 25))
        {
            await narrow.ReportSpaceAsync(Spaces(3, full: 1));
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
        }

        Assert.Equal(epoch, (await narrow.GetMapAsync())!.Epoch);
    }

    [Fact]
    public async Task DriveThatSaysItIsFull_AndHasAsMuchRoomAsOthers_KeepsItsShare()
    {
        await RegisterWithRoomAsync();
        await TellForAsync(25, Pool, 15, free: _ => 40, full: 1);
        Assert.All(await Pool.GetDrivesAsync(), drive => Assert.Equal(0, drive.Reduction));
    }

    [Fact]
    public async Task FullDrives_OfAPoolWithRoom_AllLoseTheirShare()
    {
        await RegisterWithRoomAsync();
        for (int minute = 0; minute < 60; minute++)
        {
            await Pool.ReportSpaceAsync([.. Enumerable.Range(1, 15).Select(number => new DriveSpace(Name(number), "n", 100L << 30, number <= 3 ? 0 : 50L << 30, number <= 3))]);
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
            await Pool.CompleteSlotsAsync([.. Filled(await MapAsync()).Where(slot => slot.DriveId != Name(1) && slot.DriveId != Name(2) && slot.DriveId != Name(3))]);
        }

        Assert.All((await Pool.GetDrivesAsync())[..3], drive => Assert.True(drive.Reduction > 0, $"{drive}"));
        Assert.All((await Pool.GetDrivesAsync())[3..], drive => Assert.Equal(0, drive.Reduction));
    }

    [Fact]
    public async Task DriveThatTakesWritesAgain_IsNotFull_HoweverOftenItSaidSo()
    {
        await RegisterWithRoomAsync();
        await TellForAsync(2, Pool, 15, free: number => number == 1 ? 1 : 50, full: 1);
        await TellForAsync(2, Pool, 15, free: number => number == 1 ? 12 : 50, full: 1);
        await TellForAsync(25, Pool, 15, free: number => number == 1 ? 11 : 50, full: 0);
        Assert.Equal(0, (await Pool.GetDrivesAsync())[0].Reduction);
    }

    [Fact]
    public async Task FullDrive_ThatIsToGetWhatCannotArrive_LosesItsShareAllTheSame()
    {
        await RegisterWithRoomAsync();
        await Pool.SetDriveAsync(Name(2), DriveOrder.Drain);
        ClusterMap draining = await MapAsync();
        await Pool.CompleteSlotsAsync([.. Filled(draining).Where(slot => slot.DriveId != Name(1))]);
        await Pool.SetDriveAsync(Name(2), DriveOrder.TakeOut);
        ClusterMap map = await MapAsync();
        Assert.Contains(map.Groups.SelectMany(map.SlotsOf), slot => slot is { IsComplete: false } && slot.Drive == Id(1));
        await TellForAsync(12, Pool, 15, free: number => number == 1 ? 0 : 40, full: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);
    }

    [Fact]
    public async Task FullDrive_KeepsItsShare_WhereOnlyDrivesWithoutRoomCouldTakeIt()
    {
        // One copy of each group in each host: what the first drive loses only its neighbour can take.
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 6).Select(number => Drive(number) with { Domain = new DriveDomain("r", "z", "k", $"h{(number + 1) / 2}") })]));
        long epoch = (await Pool.RequireGroupsAsync(Scheme.Copies(3).Id)).Epoch;
        await TellForAsync(25, Pool, 6, free: number => number == 1 ? 0 : number == 2 ? 2 : 50, full: 1);
        Assert.Equal(epoch, (await MapAsync()).Epoch);
        await TellForAsync(12, Pool, 6, free: number => number == 1 ? 0 : 50, full: 1);
        Assert.True((await Pool.GetDrivesAsync())[0].Reduction > 0);
        Assert.Empty(MapRules.Check(await MapAsync()));
    }

    [Fact]
    public async Task FullDrive_ThatIsMuchLargerThanOthers_LosesSoMuchAtOnceThatSomethingMoves()
    {
        await Pool.RegisterDrivesAsync(Registration("n", [Drive(1) with { CapacityBytes = 500L << 30 }, .. Enumerable.Range(2, 9).Select(Drive)]));
        await Pool.RequireGroupsAsync(new Scheme(4, 2).Id);
        int slots = (await Pool.GetDrivesAsync())[0].Slots;
        Assert.InRange(slots, 30, 32); // in nearly every group, and by its size it would be in each more than once
        await TellForAsync(12, Pool, 10, free: number => number == 1 ? 0 : 50, full: 1);
        PoolDrive drive = (await Pool.GetDrivesAsync())[0];
        Assert.InRange(drive.Reduction, 0.2, 0.9);
        Assert.InRange(drive.Slots, slots * 0.7, slots - 1);
    }

    [Fact]
    public async Task LastTenthOfADrivesShare_ComesBack_WhenItIsAsEmptyAsOthers()
    {
        await RegisterWithRoomAsync();
        await TellForAsync(12, Pool, 15, free: number => number == 1 ? 0 : 50, full: 1);
        Assert.Equal(0.1, (await Pool.GetDrivesAsync())[0].Reduction);
        await Pool.CompleteSlotsAsync([.. Filled(await MapAsync())]);
        await TellForAsync(12, Pool, 15, free: number => number == 1 ? 55 : 50, full: 0);
        Assert.Equal(0, (await Pool.GetDrivesAsync())[0].Reduction);
    }

    [Fact]
    public async Task NodesCheck_TellsThePoolOfFullDrives()
    {
        IStorageNodeGrain node = Node("node");
        await node.RegisterAsync(Registration("", [.. Enumerable.Range(1, 15).Select(Drive)]));
        await Pool.RequireGroupsAsync(new Scheme(6, 3).Id);
        NodeHeartbeat heartbeat = new(2, [Report(1) with { Condition = DriveCondition.Full, FreeBytes = 1 << 20 }, .. Enumerable.Range(2, 14).Select(Report)]);
        for (int minute = 0; minute < 13; minute++)
        {
            await node.HeartbeatAsync(heartbeat);
            await node.CheckAsync();
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
        }

        Assert.Equal([0.1, .. Enumerable.Repeat(0.0, 14)], (await Pool.GetDrivesAsync()).Select(drive => drive.Reduction));
    }

    /// <summary>Fifteen drives and no group that needs them all.</summary>
    private async Task RegisterWithRoomAsync()
    {
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, 15).Select(Drive)]));
        await Pool.RequireGroupsAsync(Scheme.Copies(3).Id);
        await Pool.RequireGroupsAsync(new Scheme(6, 3).Id);
    }

    private static ImmutableArray<DriveSpace> Spaces(int drives, int full, int empty = 0, int freeGibibytes = 30)
        => [.. Enumerable.Range(1, drives).Select(number => new DriveSpace(Name(number), "n", 100L << 30, (long)(number == full ? 0 : number == empty ? 60 : freeGibibytes) << 30, number == full))];

    /// <summary>Once a minute.</summary>
    private async Task TellForAsync(int minutes, IPlacementGrain pool, int drives, Func<int, int> free, int full)
    {
        for (int minute = 0; minute < minutes; minute++)
        {
            await pool.ReportSpaceAsync([.. Enumerable.Range(1, drives).Select(number => new DriveSpace(Name(number), "n", 100L << 30, (long)free(number) << 30, number == full))]);
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
        }
    }

    private Task TellAsync(int drives, int full, int empty = 0, int freeGibibytes = 30) => Pool.ReportSpaceAsync(Spaces(drives, full, empty, freeGibibytes));

    /// <summary>Time passes, and every minute the nodes tell what their drives hold.</summary>
    private async Task WaitAsync(TimeSpan time, int full, int empty = 0)
    {
        for (TimeSpan passed = default; passed < time; passed += TimeSpan.FromMinutes(1))
        {
            Cluster.Time.Advance(TimeSpan.FromMinutes(1));
            await TellAsync(15, full, empty);
        }
    }

    private static Guid Id(int number) => new(number, 0, 0, new byte[8]);

    private static string Name(int number) => Id(number).ToString("N");

    private static PlacementDrive Drive(int number) => new(Name(number), new DriveDomain("region", "zone", "rack", $"h{number}"), 100L << 30);

    private static DriveReport Report(int number) => new(Name(number), 100L << 30, 50L << 30, 0);

    private static ClusterMap Decode(PlacementMap map) => ClusterMapFormat.Decode(map.Encoded);

    private static IEnumerable<FilledSlot> Filled(ClusterMap map) => map.Groups.SelectMany(group => map.SlotsOf(group)
        .Select((slot, number) => (slot, number)).Where(each => each.slot is { IsComplete: false, Drive: not null })
        .Select(each => new FilledSlot(group.Value, each.number, each.slot.Drive!.Value.ToString("N"), map.Epoch)));

    private IStorageNodeGrain Node(string name) => Cluster.Grains.GetGrain<IStorageNodeGrain>($"{_pool}/{name}");

    private async Task<ClusterMap> MapAsync() => Decode((await Pool.GetMapAsync())!);

    /// <summary>Registers drives, and sees to it that there are groups for the schemes of every class.</summary>
    private async Task RegisterAsync(int drives)
    {
        await Pool.RegisterDrivesAsync(Registration("n", [.. Enumerable.Range(1, drives).Select(Drive)]));
        foreach (Scheme scheme in SchemePolicy.Default.Schemes)
            await Pool.RequireGroupsAsync(scheme.Id);
    }

    private NodeRegistration Registration(string node, params PlacementDrive[] drives) => new(_pool, node, [.. drives]);
}

using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Silo.Hosting;
using ObjectStore.Storage;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>By which way a drive is reached, and what is known of drives that do not answer.</summary>
public sealed class DriveRoutesTests
{
    private static readonly Guid Drive = Guid.NewGuid();
    private readonly FragmentStoreDirectory _directory = new();
    private readonly CopyEvents _events = new();
    private readonly VirtualTimeProvider _time = new();
    private readonly DriveRoutes<string> _routes;

    // "a" and "a2" are two addresses of node a.
    public DriveRoutesTests() => _routes = new DriveRoutes<string>(_directory, "self", address => address == "self" ? address : address[..1], _events, _time);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void DriveThatOneNodeNamesNoLonger_IsReachedByTheOther()
    {
        IFragmentStore first = Store(Drive), second = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [second], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("b", [], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("b", [second], isReachable: true);
        _routes.Follow("a", [], isReachable: true);
        Assert.Same(second, _directory.Find(Drive));
        _routes.Follow("b", [], isReachable: true);
        Assert.Null(_directory.Find(Drive));
    }

    [Fact]
    public void DriveOfANodeThatIsAway_IsReachedByTheOne_ThatAnswers()
    {
        IFragmentStore first = Store(Drive), second = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("b", [second], isReachable: true);
        Assert.Same(second, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(second, _directory.Find(Drive));
    }

    [Fact]
    public void DriveOfThisProcess_ComesFirst_AndGivesWayToANodesOnlyWhenItGoes()
    {
        IFragmentStore local = Store(Drive), remote = Store(Drive);
        _routes.Follow("a", [remote], isReachable: true);
        _routes.Add(local);
        Assert.Same(local, _directory.Find(Drive));
        _routes.Follow("a", [], isReachable: true);
        _routes.Follow("a", [remote], isReachable: true);
        Assert.Same(local, _directory.Find(Drive));
        _routes.Remove(Drive);
        Assert.Same(remote, _directory.Find(Drive));
    }

    [Fact]
    public void DriveThatTwoNodesNameAtOnce_StaysWithTheFirst_AlsoWhileThatIsAway_AndIsToldOnce()
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [copy], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("b", [copy], isReachable: false);
        _routes.Follow("b", [copy, Store(Guid.NewGuid())], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(first, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b"], _events.Told);

        // B is without it, and finds a dead when it has it again.
        _routes.Follow("b", [], isReachable: true);
        _routes.Follow("b", [copy], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        _routes.Follow("b", [copy], isReachable: false);
        Assert.Same(copy, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b", $"{Drive} on b and a"], _events.Told);
    }

    [Fact]
    public void DriveThatMoves_IsReachedAtItsNewNode_OnceTheFormerOneAnswersWithoutIt()
    {
        IFragmentStore first = Store(Drive), second = Store(Drive), third = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [second], isReachable: true);
        _routes.Follow("c", [third], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: false);
        _routes.Follow("a", [], isReachable: true);
        Assert.Same(second, _directory.Find(Drive));
        _routes.Follow("b", [second], isReachable: false);
        Assert.Same(second, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b", $"{Drive} on a and c", $"{Drive} moved to b"], _events.Told);
    }

    [Fact]
    public void DriveThatItsNodeGaveUpForAWhile_GoesBackToIt_FromTheCopyThatTookItsPlace()
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [copy], isReachable: true);
        _routes.Follow("a", [], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(first, _directory.Find(Drive));
        Assert.Empty(_routes.DrivesOf("b"));
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(first, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b", $"{Drive} moved to b", $"{Drive} on a and b"], _events.Told);
    }

    [Fact]
    public void DriveThatItsNodeGaveUpLongAgo_StaysWithTheCopy_WhichHasWhatWasWrittenSince()
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [copy], isReachable: true);
        _routes.Follow("a", [], isReachable: true);
        _time.Advance(TimeSpan.FromMinutes(6));
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        Assert.Empty(_routes.DrivesOf("a"));
        _routes.Follow("a", [], isReachable: true);
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b", $"{Drive} moved to b", $"{Drive} on b and a", $"{Drive} on b and a"], _events.Told);
    }

    [Fact]
    public void NodeByWhichADriveWasReachedBeforeTheStart_HasIt_WhicheverIsAskedFirst()
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive);
        _routes.Follow("b", [copy], isReachable: true);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Expect(new Dictionary<Guid, string> { [Drive] = "a", [Guid.NewGuid()] = "a" });
        Assert.Same(first, _directory.Find(Drive));
        Assert.Empty(_routes.DrivesOf("b"));
        Assert.Equal([$"{Drive} on b and a", $"{Drive} on a and b"], _events.Told);
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(first, _directory.Find(Drive));
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(1, false)]
    [InlineData(6, true)]
    public void NodeByWhichADriveWasReachedBeforeTheStart_AndThatAnswersLate_HasIt_UnlessTheCopyHasBeenUsedForLong(int minutes, bool copyAnswersAtOnce)
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive);
        if (copyAnswersAtOnce) _routes.Follow("b", [copy], isReachable: true);
        _routes.Expect(new Dictionary<Guid, string> { [Drive] = "a" });
        if (!copyAnswersAtOnce) _routes.Follow("b", [copy], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        _time.Advance(TimeSpan.FromMinutes(minutes));
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(minutes < 5 ? first : copy, _directory.Find(Drive));
    }

    [Fact]
    public void DriveOfThisProcess_IsNotTakenFromIt_ByTheNodeThatHadItBeforeTheStart()
    {
        IFragmentStore local = Store(Drive), other = Store(Drive);
        _routes.Add(local);
        _routes.Follow("a", [other], isReachable: true);
        _routes.Expect(new Dictionary<Guid, string> { [Drive] = "a" });
        Assert.Same(local, _directory.Find(Drive));
        Assert.Empty(_routes.DrivesOf("a"));
    }

    [Fact]
    public void DriveOfThisProcess_IsNotGivenBackToTheNodeThatHadItBeforeACopy()
    {
        IFragmentStore first = Store(Drive), copy = Store(Drive), local = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("b", [copy], isReachable: true);
        _routes.Follow("a", [], isReachable: true);
        _routes.Add(local);
        _routes.Follow("a", [first], isReachable: true);
        Assert.Same(local, _directory.Find(Drive));
        Assert.Empty(_routes.DrivesOf("a"));
        Assert.Contains($"{Drive} on self and a", _events.Told);
    }

    [Fact]
    public void AddressesOfOneNode_AreNoCopies_AndStandInForEachOther()
    {
        IFragmentStore first = Store(Drive), second = Store(Drive), copy = Store(Drive);
        _routes.Follow("a", [first], isReachable: true);
        _routes.Follow("a2", [second], isReachable: true);
        _routes.Follow("a", [first], isReachable: false);
        Assert.Same(second, _directory.Find(Drive));
        Assert.Empty(_events.Told);
        _routes.Follow("b", [copy], isReachable: true);
        _routes.Follow("b2", [copy], isReachable: true);
        _routes.Follow("a2", [second], isReachable: false);
        Assert.Same(second, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b"], _events.Told);
        _routes.Follow("a", [], isReachable: true);
        _routes.Follow("a2", [], isReachable: true);
        Assert.Same(copy, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on a and b", $"{Drive} moved to b"], _events.Told);
    }

    [Fact]
    public void CopyOfADriveOfThisProcess_IsToldAndNotAnnounced_ButNotWhereItsNodeIsThisProcess()
    {
        IFragmentStore local = Store(Drive), other = Store(Guid.NewGuid());
        _routes.Add(local);
        _routes.Follow("self", [Store(Drive)], isReachable: true);
        Assert.Empty(_events.Told);
        _routes.Follow("b", [Store(Drive), other], isReachable: true);
        Assert.Same(local, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on self and b"], _events.Told);
        Assert.Equal([other], _routes.DrivesOf("b"));
        _routes.Follow("self", [], isReachable: true);
        _routes.Remove(Drive);
        Assert.Equal(2, _routes.DrivesOf("b").Count);

        // It comes back here: this process's own is used, as at a start.
        _routes.Add(local);
        Assert.Same(local, _directory.Find(Drive));
        Assert.Equal([$"{Drive} on self and b", $"{Drive} moved to b", $"{Drive} on self and b"], _events.Told);
        Assert.Equal([other], _routes.DrivesOf("b"));
        Assert.Empty(_routes.DrivesOf("never heard of"));
    }

    [Fact]
    public async Task DriveThatHangs_OrFails_SaysWhy_AndHoldsUpNoOther()
    {
        MemoryFragmentStore good = Store(Guid.NewGuid()), hangs = Store(Guid.NewGuid()), fails = Store(Guid.NewGuid());
        TaskCompletionSource never = new();
        hangs.Fault = (_, _, _) => new ValueTask(never.Task);
        fails.Fault = (_, _, _) => throw new DriveUnavailableException(fails.DriveId, "it is away");
        var reports = await Task.WhenAll(new[] { good, hangs, fails }.Select(drive => DriveQuestions.AskAsync(drive, TimeSpan.FromMilliseconds(200), TimeProvider.System, Token)))
            .WaitAsync(TimeSpan.FromSeconds(10), Token);
        Assert.Equal([true, false, false], reports.Select(report => report.Statistics is not null));
        Assert.True(reports[0].Statistics!.CapacityBytes > 0);
        Assert.Contains("0.2 s", reports[1].Reason, StringComparison.Ordinal);
        Assert.Contains("away", reports[2].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AnnouncedDrives_AreBehindWhereADriveIsNew_OrItsSizeBecomesKnown()
    {
        AnnouncedDrives announced = new();
        NodeDrive unsized = new(Drive, "/d1", 0), sized = unsized with { CapacityBytes = 1 };
        Assert.True(announced.IsBehind("a", [unsized]));
        announced.Add("a", [unsized]);
        Assert.False(announced.IsBehind("a", [unsized]));
        Assert.True(announced.IsBehind("a", [sized]));
        announced.Add("a", [sized]);
        Assert.False(announced.IsBehind("a", [unsized]));
        Assert.True(announced.IsBehind("a", [sized, sized with { Id = Guid.NewGuid() }]));
    }

    [Fact]
    public void AnnouncedDrives_AreBehind_WhereAnotherNodeWasAnnouncedWithTheDriveSince()
    {
        AnnouncedDrives announced = new();
        NodeDrive unsized = new(Drive, "/d1", 0), sized = unsized with { CapacityBytes = 1 };
        announced.Add("a", [sized]);
        Assert.True(announced.IsBehind("b", [sized]));
        announced.Add("b", [unsized]);
        Assert.True(announced.IsBehind("b", [sized]));
        Assert.False(announced.IsBehind("b", [unsized]));
        Assert.True(announced.IsBehind("a", [sized]));
        announced.Add("a", [sized]);
        Assert.False(announced.IsBehind("a", [sized]));
    }

    private static MemoryFragmentStore Store(Guid id) => new(id, TimeProvider.System);

    private sealed class CopyEvents : IStorageEvents
    {
        public List<string> Told { get; } = [];

        public void DriveNamedTwice(Guid driveId, string usedNode, string asideNode) => Told.Add($"{driveId} on {usedNode} and {asideNode}");

        public void DriveMoved(Guid driveId, string node) => Told.Add($"{driveId} moved to {node}");
    }
}

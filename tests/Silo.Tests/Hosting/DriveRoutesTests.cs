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
    private readonly DriveRoutes<string> _routes;

    public DriveRoutesTests() => _routes = new DriveRoutes<string>(_directory);

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
        Assert.True(announced.IsBehind([unsized]));
        announced.Add([unsized]);
        Assert.False(announced.IsBehind([unsized]));
        Assert.True(announced.IsBehind([sized]));
        announced.Add([sized]);
        Assert.False(announced.IsBehind([unsized]));
        Assert.True(announced.IsBehind([sized, sized with { Id = Guid.NewGuid() }]));
    }

    private static MemoryFragmentStore Store(Guid id) => new(id, TimeProvider.System);
}

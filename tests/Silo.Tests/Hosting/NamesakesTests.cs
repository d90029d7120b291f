using ObjectStore.Silo.Hosting;
using ObjectStore.Storage;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Hosting;

/// <summary>Storage nodes that go by one name.</summary>
public sealed class NamesakesTests
{
    private readonly Dictionary<string, NodeRun?> _runs = [];
    private readonly Events _events = new();
    private readonly Namesakes<string> _namesakes;

    public NamesakesTests() => _namesakes = new Namesakes<string>("self", address => _runs[address], address => address, _events);

    [Fact]
    public void TwoProcessesOfOneName_AreTold_AndTheSecondIsSetAsideUntilItIsAnother()
    {
        _runs["a"] = new NodeRun("n", 1, Since: 10, AskedAt: 10);
        _runs["b"] = new NodeRun("n", 2, Since: 20, AskedAt: 20);

        // The first was not asked since the second came: it may be this that has started anew.
        Assert.Equal(["a"], Sift(["a", "b"], []));
        _runs["a"] = new NodeRun("n", 1, Since: 10, AskedAt: 30);
        Assert.Equal(["a"], Sift(["a", "b"], ["b"]));
        Assert.Equal(["n: a, not b"], _events.Told);
        Assert.True(_namesakes.IsAside("b"));
        Assert.Equal(["a"], Sift(["a", "b"], []));

        // Also while the first is away, and not told again.
        Assert.Empty(Sift(["b"], []));
        Assert.Equal(["a"], Sift(["a", "b"], []));
        Assert.Single(_events.Told);
        _runs["b"] = new NodeRun("m", 3, Since: 40, AskedAt: 40);
        Assert.Equal(["a", "b"], Sift(["a", "b"], ["b"]).Order());
        Assert.False(_namesakes.IsAside("b"));
    }

    [Fact]
    public void OneProcessAtTwoAddresses_IsOne_AlsoWhileItStartsAnew()
    {
        _runs["a"] = new NodeRun("n", 1, Since: 10, AskedAt: 10);
        _runs["b"] = new NodeRun("n", 1, Since: 20, AskedAt: 20);
        Assert.Equal(["a", "b"], Sift(["a", "b"], []));
        _runs["b"] = new NodeRun("n", 2, Since: 50, AskedAt: 50);
        Assert.Equal(["a"], Sift(["a", "b"], []));
        _runs["a"] = new NodeRun("n", 2, Since: 55, AskedAt: 55);
        Assert.Equal(["a", "b"], Sift(["a", "b"], []));
        Assert.Empty(_events.Told);
    }

    [Fact]
    public void TheOneThatHasTheName_KeepsIt_WhereAnotherComesThatIsNamedBefore()
    {
        _runs["a"] = null;
        _runs["b"] = new NodeRun("n", 2, Since: 10, AskedAt: 10);
        Assert.Equal(["b"], Sift(["b"], []));
        _runs["a"] = new NodeRun("n", 1, Since: 20, AskedAt: 20);
        _runs["b"] = new NodeRun("n", 2, Since: 10, AskedAt: 25);
        Assert.Equal(["b"], Sift(["a", "b"], ["a"]));
        Assert.Equal(["n: b, not a"], _events.Told);
    }

    [Fact]
    public void NameOfThisProcess_IsForTheAddressThatLeadsToIt()
    {
        _runs["a"] = new NodeRun("self", 1, Since: 10, AskedAt: 10);
        _runs["b"] = new NodeRun("self", 2, Since: 10, AskedAt: 10);
        Assert.Equal(["b"], Sift(["a", "b"], ["a"], ownRun: 2));
        Assert.Equal(["self: this process, not a"], _events.Told);
    }

    private IReadOnlyList<string> Sift(string[] answering, string[] changed, ulong? ownRun = null)
    {
        IReadOnlyList<string> good = _namesakes.Sift(answering, ownRun, out IReadOnlyList<string> now);
        Assert.Equal(changed, now);
        return good;
    }

    private sealed class Events : IStorageEvents
    {
        public List<string> Told { get; } = [];

        public void NodeNamedTwice(string name, string usedAddress, string asideAddress) => Told.Add($"{name}: {usedAddress}, not {asideAddress}");
    }
}

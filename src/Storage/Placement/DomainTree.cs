namespace ObjectStore.Storage.Placement;

/// <summary>
/// The failure domains of the drives that can take slots, and the rule of spread: of x shards inside a domain, no domain right below it has more than L(x), the least number for which
/// drives suffice: Σ min(L, drives of each domain below) ≥ x. From the widest domain down, this spreads shards as far apart as the topology allows. Immutable.
///
/// A group that is not full yet can be filled up under the rule if and only if the shards that the whole pool needs are no more than the group has slots, where a domain needs
/// as many as its parts need together, and at least the least x whose L(x) allows what its neediest part needs. (If so, every domain can be given what it needs and more, up to its limit and its drives,
/// and these add up to enough by the definition of L.) So a drive may be added when this still holds with it, and then there is always a drive for the next slot.
/// </summary>
internal sealed class DomainTree
{
    private readonly Node _root = new("", null);
    private readonly List<Node> _nodes = [];
    private readonly int[] _parents;
    private readonly Node[] _branches;
    private readonly int[][] _paths;

    /// <param name="drives">The drives that can take slots; they are known by their places in this list.</param>
    /// <param name="width">Slots of a group.</param>
    public DomainTree(IReadOnlyList<MappedDrive> drives, int width)
    {
        _nodes.Add(_root);
        var hosts = new Node[drives.Count];
        for (int drive = 0; drive < drives.Count; drive++)
        {
            FailureDomain domain = drives[drive].Domain;
            Node host = hosts[drive] = Child(Child(Child(Child(_root, domain.Region), domain.Zone), domain.Rack), domain.Host);
            var leaf = new Node("", host) { Drive = drive };
            host.Children.Add(leaf);
            for (Node? node = leaf; node is not null; node = node.Parent)
            {
                node.DriveCount++;
                node.Weight += drives[drive].Weight;
            }
        }

        foreach (Node node in _nodes)
            node.SetLimits(width);

        // A domain without siblings has whatever its parent has: it is left out of the paths, and the one above it stands for the chain down to where it branches.
        _parents = new int[_nodes.Count];
        _branches = new Node[_nodes.Count];
        foreach (Node node in _nodes)
        {
            Node? wider = node.Parent;
            while (wider is { Parent.Children.Count: 1 })
                wider = wider.Parent;
            _parents[node.Number] = wider?.Number ?? 0;
            Node branch = node;
            while (branch.Children is [{ Drive: < 0 } only])
                branch = only;
            _branches[node.Number] = branch;
        }

        _paths = [.. hosts.Select(host =>
        {
            List<int> path = [];
            for (Node node = host; node.Parent is not null; node = node.Parent)
            {
                if (node.Parent.Children.Count > 1)
                    path.Add(node.Number);
            }

            path.Add(0);
            return path.ToArray();
        })];
        Slots = Math.Min(width, drives.Count);
    }

    /// <summary>Slots of a group that can have a drive.</summary>
    public int Slots { get; }

    public int NodeCount => _nodes.Count;

    /// <summary>The domains a drive is in, narrowest first, ending with the whole pool; those without siblings are left out.</summary>
    public ReadOnlySpan<int> PathOf(int drive) => _paths[drive];

    /// <summary>The next wider domain on a path.</summary>
    public int ParentOf(int node) => _parents[node];

    /// <summary>How many of <paramref name="shards"/> shards in this domain one of the domains below it may have.</summary>
    public int LimitOf(int node, int shards) => _branches[node].Limits[shards];

    /// <summary>The shards this domain must come to have for one of the domains below it to have <paramref name="shards"/>; beyond all bounds where it never may.</summary>
    public int NeededFor(int node, int shards) => shards < _branches[node].Needed.Length ? _branches[node].Needed[shards] : int.MaxValue / 2;

    public string NameOf(int node)
    {
        List<string> names = [];
        for (Node? at = _nodes[node]; at.Parent is not null; at = at.Parent)
            names.Insert(0, at.Name);
        return string.Join('/', names);
    }

    /// <summary>The slots of a group that each drive should have on average: in proportion to weight, as far as one slot of a group to a drive and the rule of spread leave it open.</summary>
    public double[] Shares()
    {
        var shares = new double[_paths.Length];
        if (shares.Length > 0)
            Distribute(_root, Slots, shares);
        return shares;
    }

    private static void Distribute(Node node, double amount, double[] shares)
    {
        if (node.Drive >= 0)
        {
            shares[node.Drive] = amount;
            return;
        }

        int whole = Math.Min((int)amount, node.Limits.Length - 1), next = Math.Min(whole + 1, node.Limits.Length - 1);
        double limit = node.Limits[whole] + ((node.Limits[next] - node.Limits[whole]) * (amount - (int)amount));
        double below = 0, above = node.Children.Max(child => Math.Min(child.DriveCount, limit) / child.Weight);
        double Share(Node child, double rate) => Math.Min(rate * child.Weight, Math.Min(child.DriveCount, limit));
        for (int round = 0; round < 60; round++)
        {
            double rate = (below + above) / 2;
            if (node.Children.Sum(child => Share(child, rate)) < amount)
                below = rate;
            else
                above = rate;
        }

        foreach (Node child in node.Children)
            Distribute(child, Share(child, above), shares);
    }

    private Node Child(Node parent, string name)
    {
        if (!parent.ByName.TryGetValue(name, out Node? child))
        {
            child = parent.ByName[name] = new Node(name, parent) { Number = _nodes.Count };
            parent.Children.Add(child);
            _nodes.Add(child);
        }

        return child;
    }

    private sealed class Node(string name, Node? parent)
    {
        public string Name { get; } = name;

        public Node? Parent { get; } = parent;

        public int Number { get; init; }

        /// <summary>The drive that a leaf stands for; -1 for a domain.</summary>
        public int Drive { get; init; } = -1;

        public List<Node> Children { get; } = [];

        public Dictionary<string, Node> ByName { get; } = new(StringComparer.Ordinal);

        public int DriveCount { get; set; }

        public double Weight { get; set; }

        /// <summary>By the number of shards in the domain: the most that one of its children may have.</summary>
        public int[] Limits { get; private set; } = [];

        /// <summary>The other way round: by the number that a child has, the least that the domain must have.</summary>
        public int[] Needed { get; private set; } = [];

        public void SetLimits(int width)
        {
            Limits = new int[width + 1];
            int limit = 0, room = 0;
            for (int shards = 1; shards <= width; shards++)
            {
                while (room < Math.Min(shards, DriveCount))
                {
                    limit++;
                    room = Children.Sum(child => Math.Min(child.DriveCount, limit));
                }

                Limits[shards] = limit;
            }

            Needed = [.. Enumerable.Range(0, limit + 1).Select(most => Array.FindIndex(Limits, allowed => allowed >= most))];
        }
    }
}

namespace ObjectStore.Storage.Placement;

/// <summary>
/// The failure domains of the drives that can take slots, and the rule of spread: x shards inside a domain are shared by the domains right below it as evenly as their drives allow. With L(x) the least
/// number for which drives suffice, Σ min(L, drives of each domain below) ≥ x, each has at most L and, drives permitting, at least L − 1. From the widest domain down, this spreads
/// shards as far apart as the topology allows. Immutable.
///
/// A group that is not full yet can be filled up under the rule if and only if the shards that the whole pool needs are no more than the group has slots. A domain needs as many as it has
/// when its neediest parts have what they need, n, and all others have n − 1 or all of their drives. (It can be given any number from there up to its drives: part after part is raised
/// to n, then to n + 1, and so on.) So a drive may be added when this still holds with it, and then there is always a drive for the next slot.
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

    /// <summary>The domains that have siblings.</summary>
    public IEnumerable<int> Compared => _nodes.Where(node => node.Parent is { Children.Count: > 1 }).Select(node => node.Number);

    /// <summary>The domains a drive is in, narrowest first, ending with the whole pool; those without siblings are left out.</summary>
    public ReadOnlySpan<int> PathOf(int drive) => _paths[drive];

    /// <summary>The next wider domain on a path.</summary>
    public int ParentOf(int node) => _parents[node];

    /// <summary>How many of <paramref name="shards"/> shards in this domain one of the domains below it may have.</summary>
    public int LimitOf(int node, int shards) => _branches[node].Limits[shards];

    /// <summary>How many it has at least, by its drives and by those of the domains beside it.</summary>
    public int LeastOf(int node, int shardsInParent) => _nodes[node].LeastOf(shardsInParent);

    /// <summary>The shards this domain has when <paramref name="parts"/> of the domains below it have <paramref name="shards"/> each, and the others as many less one as drives permit.</summary>
    public int NeededFor(int node, int shards, int parts) => _branches[node].Room[shards - 1] + parts;

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
        double Between(int a, int b) => a + ((b - a) * (amount - (int)amount));

        // Where every child has its most, it has no less either: a child that is light for that many must not be given a share which no group leaves it.
        int Least(Node child, int shards) => node.Room[node.Limits[shards]] == shards ? Math.Min(child.DriveCount, node.Limits[shards]) : child.LeastOf(shards);
        double Share(Node child, double rate) => Math.Clamp(
            rate * child.Weight,
            Between(Least(child, whole), Least(child, next)),
            Math.Min(child.DriveCount, Between(node.Limits[whole], node.Limits[next])));
        double below = 0, above = node.Children.Max(child => child.DriveCount / child.Weight);
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

        /// <summary>By a number of shards: what the children have together when each has so many, or all of its drives where these are fewer.</summary>
        public int[] Room { get; private set; } = [];

        /// <summary>What this domain has at least where its parent has <paramref name="shardsInParent"/>.</summary>
        public int LeastOf(int shardsInParent) => Math.Min(DriveCount, Math.Max(0, Parent!.Limits[shardsInParent] - 1));

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

            Room = [.. Enumerable.Range(0, width + 1).Select(each => Children.Sum(child => Math.Min(child.DriveCount, each)))];
        }
    }
}

using ObjectStore.Storage;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// Finds storage nodes that go by one name and are two processes: on machines with the same host name, say. Taken for one, each would say that the drives of the other are missing. The one that was
/// there first keeps the name; the other is set aside until its process is another.
///
/// Two addresses may lead to one process, and while that starts anew the one may still know its former run and the other its new one. So two runs are two processes only once each has been asked
/// and has answered after the other was first heard of. Until then the second is passed over. Thread-safe.
/// </summary>
/// <typeparam name="TNode">What stands for one address of a node: compared by reference.</typeparam>
/// <param name="ownName">The name by which this process is known as a node.</param>
/// <param name="runOf">What was last heard at an address; null before it has answered.</param>
/// <param name="addressOf">The address, for messages.</param>
/// <param name="events">Is told of each that is set aside.</param>
internal sealed class Namesakes<TNode>(string ownName, Func<TNode, NodeRun?> runOf, Func<TNode, string> addressOf, IStorageEvents events)
    where TNode : class
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, TNode> _holders = new(StringComparer.Ordinal);
    private readonly Dictionary<TNode, (string Name, ulong Run)> _aside = new(ReferenceEqualityComparer.Instance);

    public bool IsAside(TNode node)
    {
        lock (_lock)
            return _aside.ContainsKey(node);
    }

    /// <summary>Of those that answer, the ones that are who they say. Two addresses of one process are both among them.</summary>
    /// <param name="answering">In an order that does not change.</param>
    /// <param name="ownRun">This process's run as a node; null where it is none.</param>
    /// <param name="changed">Those that are set aside now, or no longer.</param>
    public IReadOnlyList<TNode> Sift(IEnumerable<TNode> answering, ulong? ownRun, out IReadOnlyList<TNode> changed)
    {
        var good = new List<TNode>();
        var turned = new List<TNode>();
        lock (_lock)
        {
            foreach (IGrouping<string, (TNode Node, NodeRun Run)> namesakes in answering.Select(node => (Node: node, Run: runOf(node))).Where(each => each.Run is not null)
                         .Select(each => (each.Node, each.Run!.Value)).GroupBy(each => each.Value.Name, each => each, StringComparer.Ordinal))
            {
                foreach ((TNode node, NodeRun run) in namesakes)
                {
                    if (_aside.TryGetValue(node, out (string, ulong) then) && then != (run.Name, run.Run) && _aside.Remove(node))
                        turned.Add(node);
                }

                (TNode Node, NodeRun Run)[] rest = [.. namesakes.Where(each => !_aside.ContainsKey(each.Node))];
                if (rest.Length == 0)
                    continue;
                if (namesakes.Key == ownName)
                {
                    foreach ((TNode node, NodeRun run) in rest)
                    {
                        if (run.Run == ownRun)
                            good.Add(node);
                        else
                            SetAside(node, run, "this process");
                    }

                    continue;
                }

                (TNode Node, NodeRun Run) holder = _holders.TryGetValue(namesakes.Key, out TNode? held) && Array.Find(rest, each => ReferenceEquals(each.Node, held)) is { Node: not null } same ? same : rest[0];
                _holders[namesakes.Key] = holder.Node;
                foreach ((TNode node, NodeRun run) in rest)
                {
                    if (run.Run == holder.Run.Run)
                        good.Add(node);
                    else if (run.AskedAt > holder.Run.Since && holder.Run.AskedAt > run.Since)
                        SetAside(node, run, addressOf(holder.Node));
                }
            }
        }

        changed = [.. turned.Distinct<TNode>(ReferenceEqualityComparer.Instance)];
        return good;

        void SetAside(TNode node, NodeRun run, string holder)
        {
            _aside[node] = (run.Name, run.Run);
            turned.Add(node);
            events.NodeNamedTwice(run.Name, holder, addressOf(node));
        }
    }
}

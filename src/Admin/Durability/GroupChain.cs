using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>
/// The Markov chain of one placement group, as has been used for RAID since Gibson and Patterson: it starts whole, loses shards to drives and hosts, gets them back
/// from repair, and ends when more than m are lost at once. A state is how many shards each host has lost; hosts that are alike are interchangeable, which leaves few states.
/// The mean time to data loss is exact: see <see cref="MeanYearsToLoss"/>.
/// </summary>
internal sealed class GroupChain
{
    private const int MaxStates = 2500;

    private readonly GroupModel _model;
    private readonly int[] _sizes; // shards of each host; equal sizes are neighbours
    private readonly Dictionary<string, int> _numbers = [];
    private readonly List<byte[]> _states = [];
    private readonly List<Dictionary<int, LogNumber>> _rates = []; // by state: target (−1: lost) → rate
    private const int Lost = -1;

    private GroupChain(GroupModel model)
    {
        _model = model;
        int hosts = model.UsedHosts;
        _sizes = model.Spread ?? [.. Enumerable.Range(0, hosts).Select(host => (model.Scheme.Width / hosts) + (host < model.Scheme.Width % hosts ? 1 : 0))];
        NumberOf(new byte[hosts]);
        for (int state = 0; state < _states.Count; state++)
        {
            if (_states.Count > MaxStates) throw new NotSupportedException($"The scheme {model.Scheme} on {hosts} hosts has more than {MaxStates} states.");
            _rates.Add([]);
            AddTransitions(state);
        }
    }

    public static LogNumber MeanYearsToLoss(GroupModel model) => new GroupChain(model).Solve();

    private void AddTransitions(int number)
    {
        byte[] failed = _states[number];
        int lost = failed.Sum(count => count);
        for (int host = 0; host < failed.Length; host++)
        {
            int left = _sizes[host] - failed[host];
            if (left > 0)
            {
                AddLoss(number, failed, host, failed[host] + 1, left * _model.DriveFailureRate);
                AddLoss(number, failed, host, _sizes[host], _model.HostFailureRate);
            }

            if (failed[host] > 0)
            {
                double share = _model.Repair == RepairDiscipline.Parallel ? failed[host] : (double)failed[host] / lost;
                Add(number, NumberOf(With(failed, host, failed[host] - 1)), LogNumber.From(share * _model.RepairRate));
            }
        }
    }

    private void AddLoss(int from, byte[] failed, int host, int failedNow, double rate)
    {
        if (rate == 0) return;
        byte[] next = With(failed, host, failedNow);
        int lost = next.Sum(count => count);
        LogNumber total = LogNumber.From(rate);
        if (lost > _model.Scheme.ParityShards)
        {
            Add(from, Lost, total);
            return;
        }

        // Repair begins, and finds what cannot be read among the shards that are left.
        double unreadable = Unreadable(lost);
        if (unreadable > 0) Add(from, Lost, total * LogNumber.From(unreadable));
        Add(from, NumberOf(next), total * LogNumber.From(1 - unreadable));
    }

    /// <summary>The probability that, with so many shards lost, more of the others cannot be read than may be missing.</summary>
    private double Unreadable(int lost)
    {
        if (_model.Latent is not { ShardErrorProbability: var q }) return 0;
        int left = _model.Scheme.Width - lost;
        LogNumber sum = LogNumber.Zero;
        for (int bad = _model.Scheme.ParityShards - lost + 1; bad <= left; bad++)
            sum += LogNumber.Choose(left, bad) * LogNumber.From(q).Power(bad) * LogNumber.From(1 - q).Power(left - bad);
        return Math.Min(sum.ToDouble(), 1 - 1e-12);
    }

    private void Add(int from, int to, LogNumber rate)
    {
        Dictionary<int, LogNumber> rates = _rates[from];
        rates[to] = rates.GetValueOrDefault(to, LogNumber.Zero) + rate;
    }

    /// <summary>Hosts of one size are sorted by what they have lost: which of them it was makes no difference.</summary>
    private byte[] With(byte[] failed, int host, int count)
    {
        byte[] next = [.. failed];
        next[host] = (byte)count;
        for (int begin = 0; begin < next.Length;)
        {
            int end = begin;
            while (end < next.Length && _sizes[end] == _sizes[begin]) end++;
            next.AsSpan(begin, end - begin).Sort();
            begin = end;
        }

        return next;
    }

    private int NumberOf(byte[] state)
    {
        string name = Convert.ToHexString(state);
        if (!_numbers.TryGetValue(name, out int number))
        {
            _numbers[name] = number = _states.Count;
            _states.Add(state);
        }

        return number;
    }

    /// <summary>
    /// Lets the lost state go back to the whole one at the rate 1, and takes the stationary distribution of the chain that this makes: in it the flow into the lost state is the
    /// lost state's share, so the mean time between two losses without the stay there is the sum of the other shares over it. The distribution comes from the elimination of Grassmann,
    /// Taksar and Heyman (1985), which never subtracts, and so has full relative precision however small the shares are.
    /// </summary>
    private LogNumber Solve()
    {
        int lost = _states.Count;
        var rows = new Dictionary<int, LogNumber>[lost + 1];
        for (int state = 0; state < lost; state++)
        {
            rows[state] = [];
            foreach ((int to, LogNumber rate) in _rates[state]) rows[state][to == Lost ? lost : to] = rate;
        }

        rows[lost] = new Dictionary<int, LogNumber> { [0] = LogNumber.One };

        // Strike out the states from the last to the second. What is left in row i at column k is the factor for the way back.
        for (int k = lost; k > 0; k--)
        {
            LogNumber away = LogNumber.Zero;
            foreach ((int to, LogNumber rate) in rows[k])
            {
                if (to < k) away += rate;
            }

            for (int i = 0; i < k; i++)
            {
                if (!rows[i].TryGetValue(k, out LogNumber into)) continue;
                LogNumber factor = into / away;
                rows[i][k] = factor;
                foreach ((int to, LogNumber rate) in rows[k])
                {
                    if (to < k && to != i) rows[i][to] = rows[i].GetValueOrDefault(to, LogNumber.Zero) + (factor * rate);
                }
            }
        }

        var share = new LogNumber[lost + 1];
        share[0] = LogNumber.One;
        LogNumber alive = LogNumber.One;
        for (int k = 1; k <= lost; k++)
        {
            share[k] = LogNumber.Zero;
            for (int i = 0; i < k; i++)
            {
                if (rows[i].TryGetValue(k, out LogNumber factor)) share[k] += share[i] * factor;
            }

            if (k < lost) alive += share[k];
        }

        return alive / share[lost];
    }
}

using System.Globalization;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>One scheme's numbers.</summary>
/// <param name="Asked">As the storage class wants it; <see cref="Scheme"/> is narrower where there are too few drives.</param>
/// <param name="MeanYearsToLoss">Of one group by the loss of drives and hosts.</param>
/// <param name="ObjectLoss">The probability that a given object is lost within a year, latent errors included where they were asked for.</param>
/// <param name="Window">The published window calculation on the same drives, hosts and latent errors left out.</param>
internal sealed record SchemeDurability(
    string StorageClass, string Sizes, Scheme Asked, Scheme Scheme, int Hosts, int ShardsPerHost, LogNumber MeanYearsToLoss, LogNumber ObjectLoss, LogNumber GroupsLostPerYear, LogNumber PoolLoss, LogNumber Window)
{
    public double Nines => DurabilityReport.NinesOf(ObjectLoss);

    public double WindowNines => DurabilityReport.NinesOf(Window);

    public bool IsNarrowed => Asked != Scheme;
}

/// <param name="Spread">Words for people.</param>
/// <param name="Hosts">0: hosts are never lost.</param>
internal sealed record DomainDurability(Scheme Scheme, string Spread, int Hosts, int ShardsPerHost, LogNumber ObjectLoss)
{
    public double Nines => DurabilityReport.NinesOf(ObjectLoss);
}

/// <summary>The model over every scheme, and what it costs that shards share hosts. Pure.</summary>
internal sealed record DurabilityReport(DurabilityInputs Inputs, IReadOnlyList<SchemeDurability> Schemes, IReadOnlyList<DomainDurability> Domains)
{
    public static DurabilityReport Make(DurabilityInputs inputs)
    {
        List<(string Class, string Sizes, Scheme Scheme)> wanted = [];
        if (inputs.Schemes.Count > 0)
        {
            wanted.AddRange(inputs.Schemes.Select(scheme => ("-", "all", scheme)));
        }
        else
        {
            foreach ((string name, ClassSchemes schemes) in inputs.Classes.OrderBy(entry => entry.Value.Large.DataShards).ThenBy(entry => entry.Key, StringComparer.Ordinal))
            {
                string bound = string.Create(CultureInfo.InvariantCulture, $"{schemes.SmallBelowBytes >> 10} KiB");
                wanted.Add((name, "< " + bound, schemes.Small));
                wanted.Add((name, ">= " + bound, schemes.Large));
            }
        }

        Dictionary<Scheme, (LogNumber Years, LogNumber ObjectLoss)> solved = [];
        List<SchemeDurability> rows = [];
        foreach ((string storageClass, string sizes, Scheme asked) in wanted)
        {
            Scheme scheme = asked.Narrow(inputs.Drives);
            GroupModel model = inputs.Model(scheme);
            if (!solved.TryGetValue(scheme, out (LogNumber Years, LogNumber ObjectLoss) found))
            {
                LogNumber years = GroupChain.MeanYearsToLoss(model with { Latent = null });
                LogNumber objectYears = model.Latent is null ? years : GroupChain.MeanYearsToLoss(model);
                solved[scheme] = found = (years, (LogNumber.One / objectYears).ToProbability());
            }

            LogNumber groups = LogNumber.From(inputs.Groups);
            LogNumber groupRate = LogNumber.One / found.Years;
            rows.Add(new SchemeDurability(
                storageClass, sizes, asked, scheme, model.UsedHosts, model.ShardsPerHost, found.Years, found.ObjectLoss,
                groupRate.ToProbability() * groups, (groupRate * groups).ToProbability(), WindowModel.AnnualLoss(scheme, inputs.AnnualFailureRate, inputs.RepairTime)));
        }

        return new DurabilityReport(inputs, rows, [.. solved.Keys.SelectMany(scheme => Spreads(inputs, scheme))]);
    }

    /// <summary>How many nines a probability of loss leaves: 1e-11 is eleven. Fractions are kept.</summary>
    public static double NinesOf(LogNumber loss) => Math.Max(0, -loss.Log10);

    /// <summary>
    /// From no host ever lost to all shards in one host. The nines fall with the number of hosts, until the loss of any one host loses data: from there on fewer hosts are
    /// fewer chances of it.
    /// </summary>
    private static IEnumerable<DomainDurability> Spreads(DurabilityInputs inputs, Scheme scheme)
    {
        yield return Row("drives only: no host is ever lost", 0, inputs.Model(scheme, scheme.Width, hostRate: 0));
        bool isKnown = inputs.Spreads.TryGetValue(scheme.Width, out int[]? known);
        if (known is not null) yield return Row($"as it is: {string.Join(" + ", known)} shards in {known.Length} hosts, where most are in one", known.Length, inputs.Model(scheme));
        HashSet<int> counts = [scheme.Width];
        for (int hosts = Math.Min(inputs.Hosts, scheme.Width); hosts > 1; hosts = (hosts + 1) / 2) counts.Add(hosts);
        counts.Add(Math.Min(2, scheme.Width));
        counts.Add(1);
        foreach (int hosts in counts.OrderDescending())
        {
            GroupModel model = inputs.Model(scheme, hosts, inputs.HostAnnualFailureRate);
            string spread = hosts == 1 ? "all shards in one host" : model.ShardsPerHost == 1 ? $"{hosts} hosts, 1 shard in each" : $"{hosts} hosts, up to {model.ShardsPerHost} shards in one";
            yield return Row(!isKnown && hosts == Math.Min(inputs.Hosts, scheme.Width) ? spread + " (as it is)" : spread, hosts, model);
        }

        DomainDurability Row(string spread, int hosts, GroupModel model) =>
            new(scheme, spread, hosts, model.ShardsPerHost, (LogNumber.One / GroupChain.MeanYearsToLoss(model)).ToProbability());
    }
}

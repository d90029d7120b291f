using ObjectStore.Storage.Placement;

namespace ObjectStore.Storage.Tests.Placement;

/// <summary>
/// The slots of a group that each drive should have on average, worked out from the rule of spread alone. A domain with x shards gives each domain right below it L(x) at most, the least with
/// Σ min(L, drives) ≥ x, and at least L(x) - 1, drives permitting; exactly L(x) where all of them must have it for x to be reached. Where a domain has x shards on average, with x no whole number, it has the next lower number in some groups and the next higher in
/// the others, and the bounds are between in proportion. Between the bounds water is filled in by weight: each domain gets r times its weight, with the one r that comes to x.
/// </summary>
internal static class FairShares
{
    public static Dictionary<Guid, double> Of(IReadOnlyList<MappedDrive> drives, int width)
    {
        Dictionary<Guid, double> shares = [];
        Fill(drives, 0, Math.Min(width, drives.Count), shares);
        return shares;
    }

    private static void Fill(IReadOnlyList<MappedDrive> drives, int level, double shards, Dictionary<Guid, double> shares)
    {
        if (level == 5)
        {
            shares[drives.Single().Id] = shards;
            return;
        }

        MappedDrive[][] parts = [.. drives.GroupBy(drive => level switch { 0 => drive.Domain.Region, 1 => drive.Domain.Zone, 2 => drive.Domain.Rack, 3 => drive.Domain.Host, _ => drive.Id.ToString() }).Select(part => part.ToArray())];
        int lower = (int)Math.Floor(shards + 1e-9);
        double above = Math.Max(0, shards - lower);
        int Limit(int whole) => Enumerable.Range(0, whole + 1).First(limit => parts.Sum(part => Math.Min(limit, part.Length)) >= whole);
        double Mean(Func<int, int> of) => ((1 - above) * of(lower)) + (above < 1e-9 ? 0 : above * of(lower + 1));
        double[] most = [.. parts.Select(part => Mean(whole => Math.Min(part.Length, Limit(whole))))];
        double[] least = [.. parts.Select(part => Mean(whole => Math.Max(
            Math.Min(part.Length, Math.Max(0, Limit(whole) - 1)),
            whole - parts.Where(other => other != part).Sum(other => Math.Min(other.Length, Limit(whole))))))];
        double[] weights = [.. parts.Select(part => part.Sum(drive => drive.Weight))];

        // The amount is linear in r between the rates at which a part leaves its lower bound or reaches its upper one.
        double At(double rate) => weights.Select((weight, part) => Math.Clamp(rate * weight, least[part], most[part])).Sum();
        double[] bends = [0, .. weights.SelectMany((weight, part) => new[] { least[part] / weight, most[part] / weight }).Order()];
        int end = Array.FindIndex(bends, rate => At(rate) >= shards - 1e-9);
        double to = bends[end], from = bends[Math.Max(0, end - 1)];
        double r = At(to) - At(from) < 1e-12 ? to : from + ((to - from) * (shards - At(from)) / (At(to) - At(from)));
        for (int part = 0; part < parts.Length; part++)
            Fill(parts[part], level + 1, Math.Clamp(r * weights[part], least[part], most[part]), shares);
    }
}

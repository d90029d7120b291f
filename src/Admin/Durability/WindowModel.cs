using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>
/// The calculation that Backblaze published in 2018 ("Backblaze Durability Calculates at 99.999999999%", and github.com/Backblaze/erasure-coding-durability): the year is cut in
/// windows as long as a repair, and data is lost when more than m of the k + m drives fail within one of them. Kept beside the Markov chain as a check. It does not count
/// failures that straddle two windows, so it promises about m + 1 times less loss than a chain with parallel repair.
/// </summary>
internal static class WindowModel
{
    /// <summary>The probability of loss in a year.</summary>
    public static LogNumber AnnualLoss(Scheme scheme, double annualFailureRate, TimeSpan repairTime)
    {
        int windows = Math.Max(1, (int)(365 / repairTime.TotalDays));
        double failure = LogNumber.From(annualFailureRate / windows).ToProbability().ToDouble(); // 1 − exp(−rate), as in their table
        LogNumber loss = LogNumber.Zero;
        for (int failed = scheme.ParityShards + 1; failed <= scheme.Width; failed++)
        {
            LogNumber survive = failure < 1 || failed == scheme.Width ? LogNumber.From(1 - failure).Power(scheme.Width - failed) : LogNumber.Zero;
            loss += LogNumber.Choose(scheme.Width, failed) * LogNumber.From(failure).Power(failed) * survive;
        }

        // 1 − (1 − loss)^windows = 1 − exp(−(−windows · ln(1 − loss)))
        double one = loss.ToDouble();
        if (one >= 1) return LogNumber.One;
        LogNumber rate = one < 1e-8 ? loss : LogNumber.From(-Math.Log(1 - one));
        return (rate * LogNumber.From(windows)).ToProbability();
    }
}

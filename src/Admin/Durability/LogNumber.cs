using System.Globalization;

namespace ObjectStore.Admin.Durability;

/// <summary>
/// A number of zero or more, kept as its natural logarithm, so that products of many small rates neither underflow nor drown. There is no subtraction, on purpose: what is
/// made of sums, products and quotients of such numbers keeps its relative precision, about 1e-16 times the number of operations and the size of the logarithm.
/// </summary>
internal readonly record struct LogNumber(double Ln)
{
    public static LogNumber Zero { get; } = new(double.NegativeInfinity);

    public static LogNumber One { get; } = new(0);

    public bool IsZero => double.IsNegativeInfinity(Ln);

    public double Log10 => Ln / Math.Log(10);

    public static LogNumber From(double value) => new(Math.Log(value));

    /// <summary>As a double, 0 or infinite where it is beyond one.</summary>
    public double ToDouble() => Math.Exp(Ln);

    public static LogNumber operator +(LogNumber left, LogNumber right)
    {
        (double large, double small) = left.Ln >= right.Ln ? (left.Ln, right.Ln) : (right.Ln, left.Ln);

        // An absolute error of 1e-16 in the logarithm is a relative one of 1e-16 in the number, so the plain logarithm will do.
        return double.IsNegativeInfinity(small) ? new LogNumber(large) : new LogNumber(large + Math.Log(1 + Math.Exp(small - large)));
    }

    public static LogNumber operator *(LogNumber left, LogNumber right) => left.IsZero || right.IsZero ? Zero : new LogNumber(left.Ln + right.Ln);

    public static LogNumber operator /(LogNumber left, LogNumber right) => left.IsZero ? Zero : new LogNumber(left.Ln - right.Ln);

    public LogNumber Power(int exponent) => exponent == 0 ? One : IsZero ? Zero : new LogNumber(Ln * exponent);

    /// <summary>1 − exp(−this): the probability that something of this rate happens in a unit of time.</summary>
    public LogNumber ToProbability()
    {
        double value = Math.Exp(Ln);

        // Below this the series is exact to a double, and the plain difference would lose digits.
        return value < 1e-5 ? new LogNumber(Ln + Math.Log(1 - (value / 2) + (value * value / 6))) : new LogNumber(Math.Log(1 - Math.Exp(-value)));
    }

    /// <summary>The binomial coefficient.</summary>
    public static LogNumber Choose(int n, int k)
    {
        double sum = 0;
        for (int i = 1; i <= Math.Min(k, n - k); i++) sum += Math.Log((double)(n - Math.Min(k, n - k) + i) / i);
        return new LogNumber(sum);
    }

    /// <summary>Scientific notation with two decimals, also beyond the range of a double.</summary>
    public override string ToString()
    {
        if (IsZero) return "0";
        double exponent = Math.Floor(Log10 + 1e-12);
        double mantissa = Math.Pow(10, Log10 - exponent);
        if (mantissa >= 9.995) (mantissa, exponent) = (1, exponent + 1);
        return string.Create(CultureInfo.InvariantCulture, $"{mantissa:0.00}e{(exponent < 0 ? "-" : "+")}{Math.Abs(exponent):00}");
    }
}

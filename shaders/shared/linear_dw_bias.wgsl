// The coefficients for the bias, which the weight decay may leave alone.
fn of_bias(c: Coefficients) -> Coefficients {
    var own = c;
    if args.bias >= args.decayed {
        own.weight_decay = 0.0;
        own.shrink = 1.0;
    }
    return own;
}
